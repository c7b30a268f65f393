"""study.json: its columns and differences, and reading the file with checks, because a stranger may have written it."""

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from regulo.core.errors import InputError, Problem
from regulo.core.metrics.base import Metric
from regulo.core.safe_io import read_json
from regulo.tracking.environment import describe_hardware
from regulo.tracking.records import Number, Text, validate_record

Design = Literal["add_one", "leave_one_out", "pairs", "strengths"]


@dataclass(frozen=True)
class Column:
    """An outcome or a cost of each run. Numbers are in their own units; `factor` converts them to the unit that is shown."""

    key: str
    label: str
    unit: str
    better: Literal["high", "low", "none"]
    """whether high or low numbers are better, or neither"""
    factor: float
    digits: int

    @property
    def title(self) -> str:
        """The label with the unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def difference_unit(self) -> str:
        """The unit of a difference."""
        return "points" if self.unit == "%" else self.unit

    def format_value(self, value: float) -> str:
        """A value in the shown unit."""
        return f"{self.factor * value:,.{self.digits}f}"

    def format_change(self, value: float) -> str:
        """A difference in the shown unit, with its sign."""
        return f"{self.factor * value:+,.{self.digits}f}".replace("-", "−")


def metric_column(metric: Metric) -> Column:
    """The column of a metric on the test images."""
    key, label = f"test/{metric.name}", f"test {metric.title}"
    if metric.percent:
        return Column(key, label, "%", metric.better, 100, 2)
    return Column(key, label, metric.unit, metric.better, 1, 3)


def describe_origin(name: str, command: str, method: str) -> dict[str, str]:
    """What every record of several runs begins with: where its numbers come from."""
    return {
        "name": name,
        "command": command,
        "date": f"{datetime.date.today()}",
        "hardware": f"{describe_hardware()}, torch {importlib.metadata.version('torch')}",
        "method": method,
    }


@dataclass(frozen=True)
class Difference:
    """The mean of n differences that are paired by seed, and its simultaneous interval.

    `low` and `high` are None if the noise could not be estimated (one seed).
    """

    n: int
    mean: float
    low: float | None
    high: float | None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Difference":
        """The difference that study.json, crossval.json or tune.json has."""
        return cls(record["n"], record["mean"], record["low"], record["high"])

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def as_dict(self) -> dict[str, Any]:
        """The difference as study.json has it."""
        return {**dataclasses.asdict(self), "clear": self.significant}

    def mark(self, column: Column) -> str:
        """What a significant difference is: "better", "worse" or "differs"; "" if it is not significant."""
        if not self.significant:
            return ""
        if column.better == "none":
            return "differs"
        return "better" if (self.mean > 0) == (column.better == "high") else "worse"

    def format(self, column: Column) -> str:
        """The mean and the interval in the shown unit, such as +1.44 [0.90, 1.98]."""
        if self.low is None or self.high is None:
            return column.format_change(self.mean)
        return f"{column.format_change(self.mean)} [{column.format_change(self.low)}, {column.format_change(self.high)}]"


_Seeds = Annotated[int, Field(ge=0, le=10_000)]


class _RunRecord(TypedDict):
    seed: _Seeds
    folder: Annotated[str, Field(pattern=r"^[\w.+-]{1,200}$")]
    status: Literal["done", "failed", "missing"]
    error: Text


class _DifferenceRecord(TypedDict):
    n: _Seeds
    mean: Number
    low: Number | None
    high: Number | None
    clear: bool


class _CellRecord(TypedDict, total=False):
    label: Text
    techniques: list[Text]
    strength: Number
    overrides: list[Text]
    runs: list[_RunRecord]
    noisy_runs: list[_RunRecord]
    values: dict[str, list[Number | None]]
    difference: dict[str, _DifferenceRecord]


class _InteractionRecord(TypedDict):
    label: Text
    difference: dict[str, _DifferenceRecord]


class _ColumnRecord(TypedDict):
    key: Text
    label: Text
    unit: Text
    better: Literal["high", "low", "none"]
    factor: Number
    digits: Annotated[int, Field(ge=0, le=12)]


class _StudyRecord(TypedDict):
    name: Text
    title: Text
    design: Design
    command: Text
    date: Text
    hardware: Text
    seconds: Number
    method: Text
    seeds: _Seeds
    base: Text
    columns: list[_ColumnRecord]
    cells: Annotated[list[_CellRecord], Field(min_length=1, max_length=10_000)]
    interactions: list[_InteractionRecord]
    stale: list[Text]


CELL_KEYS = ("label", "techniques", "strength", "overrides", "runs", "noisy_runs", "values")
"""keys that every cell has; the base has no difference"""


def read(folder: Path) -> dict[str, Any]:
    """The content of a study's study.json. Raises InputError if there is none, or if it is not what a study writes."""
    file = folder / "study.json"
    if not file.is_file():
        raise InputError(Problem("STUDY", f"{folder} has no study.json", "the folder of a study has one"))
    study: dict[str, Any] = validate_record(_StudyRecord, read_json(file, "STUDY"), str(file), "STUDY")
    errors = [f"cell {i} has no {key}" for i, cell in enumerate(study["cells"]) for key in CELL_KEYS if key not in cell]
    if not errors:
        if study["base"] not in [cell["label"] for cell in study["cells"]]:
            errors.append("its base is none of its cells")
        runs = [run for cell in study["cells"] for run in (*cell["runs"], *cell["noisy_runs"])]
        errors += [f"{run['folder']!r} is not a run's folder" for run in runs if not run["folder"].strip(".")]
    if errors:
        raise InputError(Problem("STUDY", f"{file} is not what Regulo writes: {errors[0]}"))
    return study
