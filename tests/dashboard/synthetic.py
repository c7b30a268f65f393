"""Plausible run folders without training: `python -m tests.dashboard.synthetic FOLDER N` writes N of them into FOLDER/runs."""

import csv
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from regulo.core.figures import new_figure
from tests.report import studies

PLANS: dict[str, dict[str, Any]] = {
    "none": {},
    "augment": {"augment": {"crop": "auto", "flip": 0.5, "jitter": 0.0}},
    "mixup": {"mixup": {"alpha": 0.2, "p": 0.5}},
    "default": {
        "augment": {"crop": "auto", "flip": 0.5, "jitter": 0.0},
        "cutmix": {"alpha": 1.0, "p": 0.5},
        "mixup": {"alpha": 0.2, "p": 0.5},
        "dropout": {"fc": 0.2, "conv": 0.0},
        "weight_decay": {"rate": 0.01},
    },
    "ema_sam": {"ema": {"decay": 0.99}, "sam": {"rho": 0.05}},
    "confidence_penalty": {"confidence_penalty": {"beta": 0.1}},
}
MODELS = ("resnet_small", "vit_tiny", "torchvision")
DATA = ("fashion_mnist_mini", "cifar10", "image_folder")
DAY = 86_400
NOW = 1_795_687_200  # 2026-11-26 10:00 UTC


def make_run(folder: Path, index: int, state: str = "done", epochs: int = 12, log_points: int = 4, figures: bool = False) -> Path:
    """A run folder whose numbers depend on the index only. state: done, failed, crashed, interrupted or running."""
    rng = np.random.default_rng(index)
    plan_name = list(PLANS)[index % len(PLANS)]
    plan, model, data = PLANS[plan_name], MODELS[index // 6 % 3], DATA[index // 18 % 3]
    lr = (0.2, 0.1, 0.05, 0.4)[index // 54 % 4]
    folder.mkdir(parents=True)
    write_config(folder, index, plan, model, data, lr, epochs)
    write_plan(folder, plan)
    done = epochs if state == "done" else max(1, epochs // 2)
    strength = 0.02 * len(plan)
    rows, step = [], 0
    for epoch in range(done):
        progress = (epoch + 1) / epochs
        for _ in range(log_points):
            step += 20
            row = {"epoch": epoch, "step": step - 1, "lr": lr * 0.5 * (1 + math.cos(math.pi * step / (20 * log_points * epochs)))}
            row |= {"train/loss": 2.3 * math.exp(-2.5 * progress) + 0.4 * strength + rng.normal(0, 0.05)}
            row |= {"train/acc": min(0.99, 0.3 + 0.65 * progress - strength), "train/grad_norm": 1 + rng.random()}
            row |= {"train/images_per_second": 2500 + 50 * rng.normal()}
            if "confidence_penalty" in plan:
                row["train/penalty/confidence_penalty"] = 0.2 * progress
            rows.append(row)
        val = 0.9 - 0.5 * math.exp(-3 * progress) + 0.5 * strength * progress + rng.normal(0, 0.004)
        train = val + (0.1 - strength) * progress
        loss, train_loss = 2.2 * (1 - val), 2.0 * (1 - train)
        scores = {"val/acc": val, "val/loss": loss, "train_clean/acc": train, "train_clean/loss": train_loss}
        rows.append({"epoch": epoch, "step": step - 1, **scores, "gap/acc": train - val, "gap/loss": loss - train_loss})
    write_metrics(folder, rows)
    result = {"status": "running" if state == "crashed" else state, "seed": index % 3}
    if state == "done":
        last = rows[-1]
        result |= {
            "epochs": epochs, "steps": step, "fit_seconds": 40.0 + index % 60, "images_per_second": 2500.0, "epoch_seconds": 3.1,
            "peak_memory_mb": 900, "params": 78_042, "best_epoch": epochs, "weights": "best", "weights_epoch": epochs,
            "gap/acc": last["gap/acc"], "gap/loss": last["gap/loss"],
        }  # fmt: skip
        for split in ("train_clean", "val", "test"):
            near = "val" if split == "test" else split
            result |= {f"{split}/acc": last[f"{near}/acc"], f"{split}/loss": last[f"{near}/loss"]}
            result |= {f"{split}/ece": 0.02 + 0.01 * rng.random(), f"{split}/brier": 0.2}
    elif state == "failed":
        error = f"the training loss is nan in epoch {done}, step {step}; the weights of epoch {done - 1} are kept. "
        result |= {
            "error": error + f"Try a lower optim.lr (it is {lr:g}) or optim.grad_clip_norm=1",
            "error_type": "NonFiniteLossError",
        }
    (folder / "result.json").write_text(json.dumps(result, indent=1))
    if state in ("interrupted", "crashed", "running"):
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    if figures:
        draw_figures(folder, rng)
    began = NOW - index * 1800
    for file in folder.iterdir():
        os.utime(file, (began, began))
    return folder


def write_config(folder: Path, index: int, plan: dict[str, Any], model: str, data: str, lr: float, epochs: int) -> None:
    config = {
        "seed": index % 3, "name": "run", "run_dir": None, "strength": 1.0, "monitor": "val/loss",
        "data": {"name": data, "root": None, "batch_size": 64, "num_workers": 2, "label_noise": 0.0},
        "model": {"name": model, "depth": 14, "width": 16},
        "optim": {"name": "sgd", "lr": lr, "schedule": "one_cycle", "warmup": 0.2, "momentum": 0.9},
        "regularizer": plan,
        "callbacks": {},
        "trainer": {"accelerator": "cpu", "devices": 1, "precision": "32-true", "max_epochs": epochs, "log_every_n_steps": 20},
        "logger": {"wandb": "offline", "project": None},
    }  # fmt: skip
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    (folder / "config.yaml").write_text(yaml.dump(config, Dumper=dumper, sort_keys=False))


def write_plan(folder: Path, plan: dict[str, Any]) -> None:
    hooks = {"augment": "transform", "ema": "callbacks", "sam": "wrap_optimizer", "mixup": "mix, one per batch"}
    hooks |= {
        "cutmix": "mix, one per batch",
        "dropout": "surgery",
        "weight_decay": "param_groups",
        "confidence_penalty": "penalty",
    }
    rows = [
        {
            "order": str(i),
            "technique": name,
            "hook": hooks[name],
            "strength": ", ".join(f"{k}={v}" for k, v in fields.items()),
            "source": "–",
        }
        for i, (name, fields) in enumerate(plan.items(), 1)
    ]
    (folder / "plan.json").write_text(json.dumps({"regularizers": rows}))


def write_metrics(folder: Path, rows: list[dict[str, Any]]) -> None:
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def draw_figures(folder: Path, rng: np.random.Generator) -> None:
    (folder / "figures").mkdir()
    Image.fromarray(rng.integers(0, 255, (120, 240, 3), np.uint8)).save(folder / "figures" / "samples.png")
    figure = new_figure(3, 3)
    figure.subplots().imshow(np.eye(10) + 0.1 * rng.random((10, 10)), cmap="Blues")
    figure.savefig(folder / "figures" / "confusion.png", dpi=80)


def make_runs(root: Path, count: int, figures: int = 3) -> Path:
    """`count` runs in root/runs, newest first: the first three in different states, later ones mostly done. Returns root/runs."""
    states = {0: "done", 1: "crashed", 2: "failed", 3: "interrupted"}
    for index in range(count):
        state = states.get(index) or ("failed" if index % 37 == 5 else "crashed" if index % 53 == 7 else "done")
        name = f"2026-11-{26 - index // 48 % 26:02d}-{index:06d}-run"
        make_run(root / "runs" / name, index, state, figures=index < figures)
    return root / "runs"


def make_study(root: Path, runs: int = 6) -> Path:
    """A study in root/runs/studies/quick with these runs and a report."""
    folder = studies.make(root / "runs" / "studies" / "quick")
    (folder / "report.html").write_text("<!doctype html><title>report</title><p>The report.</p>")
    for index in range(runs):
        make_run(folder / f"mixup-s{index}-{index:08x}", 100 + index)
    return folder


if __name__ == "__main__":
    make_study(Path(sys.argv[1]))
    print(make_runs(Path(sys.argv[1]), int(sys.argv[2])))
