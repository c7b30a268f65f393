"""The results of a cross-validation: the content of crossval.json."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regulo.analysis.crossval.plans import AGAINST, PLAN, CrossvalArgs, FoldRun
from regulo.analysis.crossval.predictions import FILE, Predictions, join_predictions, read_predictions
from regulo.analysis.crossval.statistics import METHOD, mean_interval
from regulo.analysis.crossval.suspects import Suspect
from regulo.analysis.study_record import Column, describe_origin, metric_column
from regulo.core.metrics.base import list_metrics
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder

SHARE, ANY = (0.0, 1.0), (-math.inf, math.inf)
"""limits of a score in percent, and of any other"""


def list_columns() -> list[Column]:
    """A column for each metric of the test split."""
    return [metric_column(metric) for metric in list_metrics()]


def collect(args: CrossvalArgs, name: str, command: str, runs: Sequence[FoldRun], errors: Mapping[str, str]) -> dict[str, Any]:
    """The content of crossval.json but for the suspects. Numbers are in their own units, as in study.json."""
    columns = [column for column in list_columns() if any(column.key in run.result() for run in runs)]
    share = _test_share(runs)
    values = {
        plan: {column.key: [_fold_value(runs, plan, fold, column.key) for fold in range(args.folds)] for column in columns}
        for plan in args.plans
    }
    differences = {
        column.key: interval.as_dict()
        for column in columns
        if AGAINST in values and (interval := _interval(_subtract(values[PLAN][column.key], values[AGAINST][column.key]), share))
    }
    return {
        **describe_origin(name, command, METHOD),
        "folds": args.folds,
        "seeds": args.seeds,
        "columns": [vars(column) for column in columns],
        "plans": [
            {
                "label": plan,
                "overrides": list(overrides),
                "runs": [{"fold": run.fold, "seed": run.seed, **run.record(errors)} for run in runs if run.plan == plan],
                "values": values[plan],
                "mean": {
                    column.key: interval.as_dict()
                    for column in columns
                    if (interval := _interval(values[plan][column.key], share, SHARE if column.unit == "%" else ANY))
                },
            }
            for plan, overrides in args.plans.items()
        ],
        "difference": differences,
    }


def _fold_value(runs: Sequence[FoldRun], plan: str, fold: int, key: str) -> float | None:
    """The mean of a score over the seeds of a fold; None if one of its runs is not done, or if the score is not finite."""
    own = [run for run in runs if (run.plan, run.fold) == (plan, fold)]
    numbers = [run.result().get(key) for run in own if run.state() == "done"]
    finite = [float(number) for number in numbers if number is not None and math.isfinite(number)]
    return sum(finite) / len(finite) if len(finite) == len(own) else None


def _subtract(a: Sequence[float | None], b: Sequence[float | None]) -> list[float | None]:
    return [None if x is None or y is None else x - y for x, y in zip(a, b, strict=True)]


def _interval(values: Sequence[float | None], test_share: float, limits: tuple[float, float] = ANY) -> Any:
    available = [value for value in values if value is not None]
    return mean_interval(available, test_share, limits) if available else None


def _test_share(runs: Sequence[FoldRun]) -> float:
    """Test images over training images, the mean over the finished runs."""
    data = [records.read_data_record(RunFolder(run.folder)) for run in runs if run.state() == "done"]
    shares = [sum(record.images["test"]) / sum(record.images["train"]) for record in data if record]
    return sum(shares) / len(shares) if shares else 0.0


def out_of_fold(runs: Sequence[FoldRun]) -> dict[str, Predictions]:
    """The predictions of each plan that has a finished run."""
    parts: dict[str, list[Predictions]] = {}
    for run in runs:
        if run.state() == "done":
            parts.setdefault(run.plan, []).append(read_predictions(run.folder / FILE))
    return {plan: join_predictions(predictions) for plan, predictions in parts.items()}


def describe_suspects(predictions: Predictions, suspects: Sequence[Suspect]) -> list[dict[str, Any]]:
    """What crossval.json has of each image whose label may be wrong."""
    return [
        {
            "image": predictions.images[suspect.index],
            "label": predictions.classes[predictions.labels[suspect.index]],
            "suggestion": predictions.classes[suspect.suggestion],
            "self_confidence": suspect.self_confidence,
        }
        for suspect in suspects
    ]


def runs_with_status(record: Mapping[str, Any], status: str) -> list[dict[str, Any]]:
    """The runs of this status, "done", "failed" or "missing"."""
    return [run for plan in record["plans"] for run in plan["runs"] if run["status"] == status]


def root_folder(name: str) -> Path:
    """The folder of all files of a cross-validation."""
    return (Path("runs") / "crossval" / name).absolute()
