"""study.json, as its page reads it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulo.analysis import study_record


@dataclass(frozen=True)
class Column:
    """An outcome or a cost. Numbers are in their own units; `factor` leads to the shown one."""

    key: str
    label: str
    unit: str
    better: str
    """whether "high" or "low" numbers are better, or "none" is"""
    factor: float
    digits: int

    @property
    def title(self) -> str:
        """Its name with its unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def step(self) -> str:
        """The unit of a difference."""
        return "points" if self.unit == "%" else self.unit

    def show(self, value: float) -> str:
        """A value in the shown unit."""
        return f"{self.factor * value:,.{self.digits}f}"

    def change(self, value: float) -> str:
        """A difference in the shown unit, with its sign."""
        return f"{self.factor * value:+,.{self.digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Difference:
    """To the base, paired by seed, with its simultaneous interval; `low` and `high` are None where there is none (n = 1)."""

    n: int
    mean: float
    low: float | None
    high: float | None
    significant: bool

    def mark(self, column: Column) -> str:
        """What a clear difference is, "better", "worse" or "differs"; nothing if it is not clear."""
        if not self.significant:
            return ""
        if column.better == "none":
            return "differs"
        return "better" if (self.mean > 0) == (column.better == "high") else "worse"

    def words(self, column: Column) -> str:
        """+1.44 [0.90, 1.98]."""
        if self.low is None or self.high is None:
            return column.change(self.mean)
        return f"{column.change(self.mean)} [{column.change(self.low)}, {column.change(self.high)}]"


@dataclass(frozen=True)
class Row:
    """A cell of the study: the same configuration under several seeds."""

    label: str
    strength: float
    values: Mapping[str, Sequence[float | None]]
    difference: Mapping[str, Difference]
    runs: Sequence[Mapping[str, Any]]

    def known(self, key: str) -> list[float]:
        """The values of the seeds that have one."""
        return [v for v in self.values.get(key, ()) if v is not None]

    def mean(self, key: str) -> float | None:
        """Their mean."""
        return statistics.fmean(self.known(key)) if self.known(key) else None

    @property
    def n(self) -> int:
        """Runs that are done."""
        return sum(run["status"] == "done" for run in self.runs)


@dataclass(frozen=True)
class Study:
    """A study's results."""

    folder: Path
    told: Mapping[str, Any]
    """what study.json says besides"""
    columns: Sequence[Column]
    rows: Sequence[Row]
    interactions: Sequence[Row]

    @property
    def base(self) -> Row:
        """The cell that the others are compared with."""
        return next(row for row in self.rows if row.label == self.told["base"])

    @property
    def others(self) -> list[Row]:
        """The cells that are compared with it."""
        return [row for row in self.rows if row is not self.base]

    @property
    def compared(self) -> list[Column]:
        """Columns with differences to the base."""
        return [c for c in self.columns if any(c.key in row.difference for row in self.rows)]

    @property
    def primary(self) -> Column | None:
        """What the study is about: the test accuracy, or the first column that is compared."""
        return self.column("test/acc") or next((c for c in self.compared if c.better != "none"), None)

    def column(self, key: str) -> Column | None:
        """The column of this key."""
        return next((c for c in self.columns if c.key == key), None)

    @property
    def failed(self) -> list[Mapping[str, Any]]:
        """Runs that failed."""
        return [run for cell in self.told["cells"] for run in (*cell["runs"], *cell["noisy_runs"]) if run["status"] == "failed"]

    @property
    def missing(self) -> list[Mapping[str, Any]]:
        """Runs that have not been done."""
        return [run for cell in self.told["cells"] for run in (*cell["runs"], *cell["noisy_runs"]) if run["status"] == "missing"]


def read(folder: Path) -> Study:
    """The study of a folder. Raises InputError if it has none."""
    told = study_record.read(folder)
    columns = [Column(**column) for column in told["columns"]]
    return Study(folder, told, columns, _rows(told["cells"]), _rows(told["interactions"]))


def _rows(cells: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [
        Row(
            cell["label"],
            cell.get("strength", 1.0),
            cell.get("values", {}),
            {key: Difference(**of) for key, of in cell.get("difference", {}).items()},
            cell.get("runs", ()),
        )
        for cell in cells
    ]
