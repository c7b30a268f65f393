"""The columns of a study's table: outcomes, which are compared with the base, and costs, which are told."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from regulo.analysis.ablation.runs import StudyRun
from regulo.analysis.ablation.study import Study


@dataclass(frozen=True)
class Column:
    """A number of each run."""

    key: str
    label: str
    unit: str
    better: Literal["high", "low", "none"]
    factor: float
    """from the number's own unit to the shown one"""
    digits: int
    compared: bool = True
    """whether its differences to the base have intervals and marks"""

    def as_dict(self) -> dict[str, Any]:
        """What study.json says of it."""
        names = ("key", "label", "unit", "better", "factor", "digits")
        return {name: getattr(self, name) for name in names}


OUTCOMES = (
    Column("train_clean/acc", "clean train accuracy", "%", "none", 100, 2),
    Column("val/acc", "validation accuracy", "%", "high", 100, 2),
    Column("test/acc", "test accuracy", "%", "high", 100, 2),
    Column("gap/acc", "gap train − validation", "points", "low", 100, 2),
    Column("test/loss", "test NLL", "nats", "low", 1, 3),
    Column("test/ece", "test ECE", "%", "low", 100, 2),
    Column("test/ece_scaled", "test ECE after temperature", "%", "low", 100, 2),
)
CORRUPTED = Column("corrupted/acc", "accuracy on corrupted images", "%", "high", 100, 2)
NOISY = "noisy/acc"
TIME, TIME_KEY = "relative_seconds", "epoch_seconds"
COSTS = (
    Column(TIME, "time per epoch", "× base", "low", 1, 2, compared=False),
    Column("peak_memory_mb", "peak memory", "MB", "low", 1, 0, compared=False),
)


def columns(study: Study) -> list[Column]:
    """Those of a study."""
    noisy = f"test accuracy, {100 * (study.label_noise or 0):g}% of the labels wrong"
    return [
        *OUTCOMES,
        *([CORRUPTED] if study.corruptions else []),
        *([Column(NOISY, noisy, "%", "high", 100, 2)] if study.label_noise is not None else []),
        *COSTS,
    ]


def values(wanted: Sequence[Column], runs: Sequence[StudyRun]) -> dict[str, dict[str, list[float | None]]]:
    """By cell and column a value for each seed, None where there is none, from the runs of all cells."""
    seeds = sorted({run.seed for run in runs})
    labels = list(dict.fromkeys(run.cell.label for run in runs))
    known = {(run.cell.label, run.seed, run.label_noise is not None): _finished(run) for run in runs}

    def value(key: str, label: str, seed: int) -> float | None:
        if key == NOISY:
            return _number(known[label, seed, True], "test/acc")
        if key == TIME:
            own, base = (_number(known[cell, seed, False], TIME_KEY) for cell in (label, labels[0]))
            return own / base if own and base else None
        return _number(known[label, seed, False], key)

    return {label: {c.key: [value(c.key, label, seed) for seed in seeds] for c in wanted} for label in labels}


def _finished(run: StudyRun) -> dict[str, Any]:
    return run.result() if run.state() == "done" else {}


def _number(result: Mapping[str, Any], key: str) -> float | None:
    number = result.get(key)
    return float(number) if number is not None and math.isfinite(number) else None
