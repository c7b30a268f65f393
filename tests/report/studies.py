"""Plausible studies on disk: study.json and run folders with measures.json, as `regulo ablate` leaves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = (
    ("train_clean/acc", "clean train accuracy", "%", "none", 100, 2),
    ("val/acc", "validation accuracy", "%", "high", 100, 2),
    ("test/acc", "test accuracy", "%", "high", 100, 2),
    ("gap/acc", "gap train − validation", "points", "low", 100, 2),
    ("test/loss", "test NLL", "nats", "low", 1, 3),
    ("test/ece", "test ECE", "%", "low", 100, 2),
    ("test/ece_scaled", "test ECE after temperature", "%", "low", 100, 2),
    ("corrupted/acc", "accuracy on corrupted images", "%", "high", 100, 2),
    ("relative_seconds", "time per epoch", "× base", "low", 1, 2),
    ("peak_memory_mb", "peak memory", "MB", "low", 1, 0),
)
KINDS = ("noise", "blur", "contrast", "brightness", "jpeg", "pixelate", "rotation")
EFFECTS = {"none": 0.0, "augment": 1.6, "weight_decay": 0.4, "mixup": 0.7, "label_smoothing": 0.2, "dropout": -0.6, "cutmix": 1.1}


def make(folder: Path, design: str = "add_one", seeds: int = 3, labels: tuple[str, ...] = tuple(EFFECTS)) -> Path:
    """A study of these cells, of which the first is the base. With more than two seeds, the last cell's last run failed."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.15, (len(labels), seeds)) + rng.normal(0, 0.3, seeds)
    cells = []
    for index, label in enumerate(labels):
        effect = EFFECTS.get(label, 0.3 * index)
        has_failed = seeds > 2 and index == len(labels) - 1
        runs, values = [], {key: [] for key, *_ in COLUMNS}
        for seed in range(seeds):
            run = f"{''.join(c if c.isalnum() else '_' for c in label)}-s{seed}-{index:08x}"
            missing = has_failed and seed == seeds - 1
            status, error = ("failed", "non-finite loss at step 12") if missing else ("done", "")
            runs.append({"seed": seed, "folder": run, "status": status, "error": error})
            acc = (87.5 + effect + noise[index, seed]) / 100
            numbers = {
                "train_clean/acc": 0.985 - 0.02 * effect, "val/acc": acc + 0.005, "test/acc": acc,
                "gap/acc": 0.98 - 0.02 * effect - acc, "test/loss": 0.55 - 0.12 * effect,
                "test/ece": max(0.01, 0.08 - 0.03 * effect), "test/ece_scaled": 0.012,
                "corrupted/acc": acc - 0.15, "relative_seconds": 1 + 0.03 * index, "peak_memory_mb": 900 + 10 * index,
            }  # fmt: skip
            for key in values:
                values[key].append(None if missing else float(numbers[key]))
            (folder / run).mkdir(parents=True)
            measures = {f"corrupted/{k}/{s}/acc": acc - 0.03 * i - 0.05 * s for i, k in enumerate(KINDS) for s in (1, 2, 3)}
            (folder / run / "measures.json").write_text(json.dumps(measures))
        strength = float(index) if design == "strengths" else 1.0
        cell: dict[str, Any] = {
            "label": label,
            "techniques": [label],
            "strength": strength,
            "overrides": [f"+regularizer={label}"],
        }
        cells.append(cell | {"runs": runs, "noisy_runs": [], "values": values})
    for cell in cells[1:]:
        cell["difference"] = {key: difference(cell["values"][key], cells[0]["values"][key]) for key, *_ in COLUMNS[:8]}
    study = {
        "name": "fixture", "title": "Which technique helps a small network?", "design": design,
        "command": "made for a test",
        "date": "2026-11-22", "hardware": "2 cores of a processor", "seconds": 1234.5, "seeds": seeds,
        "method": "Differences are paired by seed; intervals are simultaneous over the table.", "base": labels[0],
        "columns": [dict(zip(("key", "label", "unit", "better", "factor", "digits"), c, strict=True)) for c in COLUMNS],
        "cells": cells, "interactions": [], "stale": ["mixup-s0-0badcafe"],
    }  # fmt: skip
    if design == "pairs":
        study["interactions"] = [
            {"label": " + ".join(labels[1:3]), "difference": {"test/acc": cells[-1]["difference"]["test/acc"]}}
        ]
    (folder / "study.json").write_text(json.dumps(study))
    return folder


def difference(values: list[float | None], base: list[float | None]) -> dict[str, Any]:
    pairs = [a - b for a, b in zip(values, base, strict=True) if a is not None and b is not None]
    mean, n = float(np.mean(pairs)), len(pairs)
    if n < 2:
        return {"n": n, "mean": mean, "low": None, "high": None, "clear": False}
    half = 3.5 * max(float(np.std(pairs, ddof=1)), 0.002 * abs(mean)) / n**0.5 + 1e-4
    return {"n": n, "mean": mean, "low": mean - half, "high": mean + half, "clear": abs(mean) > half}
