"""The columns of the table of runs: what every run has, and every number of the runs' result.json."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from regulo.core.metrics.base import list_metrics
from regulo.tracking.run_dir import SPLITS


@dataclass(frozen=True)
class TableColumn:
    """A column. Numbers are in their own units; `factor` converts them to the unit in the title."""

    key: str
    title: str
    kind: Literal["text", "number", "duration", "date", "size", "switch"] = "text"
    visible: bool = False
    """whether it is shown before the reader chooses columns"""
    factor: float = 1
    digits: int | None = None
    """after the point; None: four significant digits"""
    better: Literal["high", "low", ""] = ""


FIRST = (
    TableColumn("name", "run", visible=True),
    TableColumn("state", "state", visible=True),
    TableColumn("plan", "techniques", visible=True),
)
SHOWN_SCORES = (
    TableColumn("test/acc", "test accuracy, %", "number", True, 100, 2, "high"),
    TableColumn("test/loss", "test NLL, nats", "number", True, 1, 3, "low"),
    TableColumn("gap/acc", "gap, points", "number", True, 100, 1, "low"),
)
LAST = (
    TableColumn("reason", "progress or reason", visible=True),
    TableColumn("model", "model", visible=True),
    TableColumn("data", "data", visible=True),
    TableColumn("study", "study", visible=True),
    TableColumn("seed", "seed", "number", visible=True),
    TableColumn("strength", "strength", "number"),
    TableColumn("epochs", "epochs", "number", visible=True),
    TableColumn("max_epochs", "planned epochs", "number"),
    TableColumn("seconds", "training time", "duration", visible=True),
    TableColumn("seconds_left", "time left", "duration"),
    TableColumn("started", "started", "date", visible=True),
    TableColumn("size", "size on disk", "size"),
    TableColumn("pinned", "pinned", "switch"),
    TableColumn("can_resume", "can go on", "switch"),
)
STATIC = (*FIRST, *SHOWN_SCORES, *LAST)
OTHER_NAMES = ("fit_seconds",)
"""numbers of result.json that a column has under another key"""


def table_columns(scores: Iterable[Mapping[str, float]]) -> list[TableColumn]:
    """All columns; `scores`: the numbers of each run's result.json. A number without a column of its own gets one."""
    static = {column.key for column in STATIC}
    keys = dict.fromkeys(key for run in scores for key in run if key not in static and key not in OTHER_NAMES)
    return [*STATIC, *(_score_column(key) for key in keys)]


def _score_column(key: str) -> TableColumn:
    split, _, name = key.rpartition("/")
    metric = next((metric for metric in list_metrics() if metric.name == name), None)
    if split not in SPLITS or metric is None:
        return TableColumn(key, key, "number")
    title = f"{split.replace('_', ' ')} {metric.title}"
    if metric.percent:
        return TableColumn(key, f"{title}, %", "number", factor=100, digits=2, better=metric.better)
    return TableColumn(key, f"{title}, {metric.unit}" if metric.unit else title, "number", digits=3, better=metric.better)
