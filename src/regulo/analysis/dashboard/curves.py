"""The curves of a run: every column of metrics.csv by step, epoch and time, short enough to draw."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from regulo.analysis.report.run_figures import thin
from regulo.tracking.records import Metrics

AXES = ("step", "epoch", "time")
"""columns that are no curves"""


def list_curves(metrics: Metrics, result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The curves by the name of their column, without the final scores, which are no curves.

    Each has `value`, and the lists `step`, `epoch` (whole ones are the ends of epochs) and `time` (seconds) of the same length.
    Long curves are thinned: `points` is how many there are. `result`: result.json, from which times are estimated if none
    were logged.
    """
    steps = _by_row(metrics, "step")
    steps_per_epoch = _steps_per_epoch(metrics, steps)
    seconds = _by_row(metrics, "time") if "time" in metrics.columns else None
    curves = {}
    for key in metrics.columns:
        rows, values = metrics.rows(key), metrics.values(key)
        epochs = metrics.epochs(key)
        rows, values, epochs = (array[epochs >= 0] for array in (rows, values, epochs))
        if key in AXES or not len(rows):
            continue
        finite = np.where(np.isfinite(values), values, 0)
        drawn = thin([finite])
        step = steps[rows[drawn]]
        curves[key] = {
            "value": _rounded(values[drawn]),
            "step": _rounded(step),
            "epoch": _rounded((step + 1) / steps_per_epoch if steps_per_epoch else epochs[drawn] + 1.0),
            "points": len(rows),
        }
        if seconds is not None:
            curves[key]["time"] = _rounded(seconds[rows[drawn]])
        elif result.get("steps") and result.get("fit_seconds"):
            curves[key] |= {"time": _rounded((step + 1) * result["fit_seconds"] / result["steps"]), "time_estimated": True}
    return curves


def _by_row(metrics: Metrics, key: str) -> np.ndarray:
    """A column with a value for each row; NaN where it has none."""
    values = np.full(metrics.num_rows, np.nan)
    values[metrics.rows(key)] = metrics.values(key)
    return values


def _steps_per_epoch(metrics: Metrics, steps: np.ndarray) -> float:
    """Optimizer steps of an epoch, from the last validation, which ends one; 0 if there was none."""
    rows, epochs = metrics.rows("val/loss"), metrics.epochs("val/loss")
    ends = rows[epochs >= 0]
    return float((steps[ends[-1]] + 1) / (epochs[epochs >= 0][-1] + 1)) if len(ends) else 0.0


def _rounded(values: np.ndarray) -> list[float]:
    """Six significant digits, which no screen resolves, in a form that JSON writes briefly."""
    return [float(f"{value:.6g}") for value in values.tolist()]
