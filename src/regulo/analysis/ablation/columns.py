"""The columns of a study's table: outcomes, which are compared with the base, and costs, which are only reported."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from regulo.analysis.ablation.runs import StudyRun
from regulo.analysis.ablation.study import StudyConfig
from regulo.analysis.study_record import Column, metric_column
from regulo.core.metrics.base import list_metrics

ACCURACIES = (
    Column("train_clean/acc", "clean train accuracy", "%", "none", 100, 2),
    Column("val/acc", "validation accuracy", "%", "high", 100, 2),
    Column("test/acc", "test accuracy", "%", "high", 100, 2),
    Column("gap/acc", "gap train − validation", "points", "low", 100, 2),
)
ECE_SCALED = Column("test/ece_scaled", "test ECE after temperature", "%", "low", 100, 2)
CORRUPTED_ACC = Column("corrupted/acc", "accuracy on corrupted images", "%", "high", 100, 2)
NOISY_ACC = "noisy/acc"
TIME, TIME_KEY = "relative_seconds", "epoch_seconds"
COSTS = (
    Column(TIME, "time per epoch", "× base", "low", 1, 2),
    Column("peak_memory_mb", "peak memory", "MB", "low", 1, 0),
)


def list_outcomes(study: StudyConfig) -> list[Column]:
    """The columns whose differences to the base have intervals and marks."""
    noisy = f"test accuracy, {100 * (study.label_noise or 0):g}% of the labels wrong"
    return [
        *ACCURACIES,
        *(metric_column(metric) for metric in list_metrics() if metric.in_studies and metric.name != "acc"),
        ECE_SCALED,
        *([CORRUPTED_ACC] if study.corruptions else []),
        *([Column(NOISY_ACC, noisy, "%", "high", 100, 2)] if study.label_noise is not None else []),
    ]


def values_by_cell(columns: Sequence[Column], runs: Sequence[StudyRun]) -> dict[str, dict[str, list[float | None]]]:
    """From the runs of all cells, by the cell's label and the column's key: a value for each seed, None where there is none."""
    seeds = sorted({run.seed for run in runs})
    labels = list(dict.fromkeys(run.cell.label for run in runs))
    results = {(run.cell.label, run.seed, run.label_noise is not None): _finished_result(run) for run in runs}

    def value(key: str, label: str, seed: int) -> float | None:
        if key == NOISY_ACC:
            return _finite(results[label, seed, True], "test/acc")
        if key == TIME:
            own, base = (_finite(results[cell, seed, False], TIME_KEY) for cell in (label, labels[0]))
            return own / base if own and base else None
        return _finite(results[label, seed, False], key)

    return {label: {c.key: [value(c.key, label, seed) for seed in seeds] for c in columns} for label in labels}


def _finished_result(run: StudyRun) -> dict[str, Any]:
    """The result of a run that is done; of any other run, nothing."""
    return run.result() if run.state() == "done" else {}


def _finite(result: Mapping[str, Any], key: str) -> float | None:
    """The number of this key; None if there is none, or if it is not finite."""
    number = result.get(key)
    return float(number) if number is not None and math.isfinite(number) else None
