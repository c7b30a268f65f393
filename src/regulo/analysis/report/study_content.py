"""The results of a study, as its page reads them from study.json."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulo.analysis import study_record
from regulo.analysis.study_record import Column, Difference


@dataclass(frozen=True)
class ResultRow:
    """A row of the results: a cell of the study (one configuration under several seeds), or the interaction of two techniques."""

    label: str
    strength: float
    values: Mapping[str, Sequence[float | None]]
    """by column, a value for each seed, None where there is none"""
    difference: Mapping[str, Difference]
    """by column, the difference to the base"""
    runs: Sequence[Mapping[str, Any]]

    def available(self, key: str) -> list[float]:
        """The values of the seeds that have one."""
        return [v for v in self.values.get(key, ()) if v is not None]

    def mean(self, key: str) -> float | None:
        """The mean of the available values."""
        values = self.available(key)
        return statistics.fmean(values) if values else None

    @property
    def n(self) -> int:
        """The number of runs that are done."""
        return sum(run["status"] == "done" for run in self.runs)


@dataclass(frozen=True)
class StudyResults:
    """The results of a study."""

    folder: Path
    record: Mapping[str, Any]
    """the content of study.json"""
    columns: Sequence[Column]
    rows: Sequence[ResultRow]
    interactions: Sequence[ResultRow]

    @property
    def base(self) -> ResultRow:
        """The cell with which the others are compared."""
        return next(row for row in self.rows if row.label == self.record["base"])

    @property
    def others(self) -> list[ResultRow]:
        """All cells but the base."""
        return [row for row in self.rows if row is not self.base]

    @property
    def compared_columns(self) -> list[Column]:
        """Columns with differences to the base."""
        return [c for c in self.columns if any(c.key in row.difference for row in self.rows)]

    @property
    def primary(self) -> Column | None:
        """The main outcome: the test accuracy, or the first compared column in which a direction is better."""
        return self.column("test/acc") or next((c for c in self.compared_columns if c.better != "none"), None)

    def column(self, key: str) -> Column | None:
        """The column of this key."""
        return next((c for c in self.columns if c.key == key), None)

    def runs(self, status: str) -> list[Mapping[str, Any]]:
        """The runs of this status, "done", "failed" or "missing"."""
        cells = self.record["cells"]
        return [run for cell in cells for run in (*cell["runs"], *cell["noisy_runs"]) if run["status"] == status]


def read(folder: Path) -> StudyResults:
    """The results of the study in a folder. Raises InputError if the folder has no valid study.json."""
    record = study_record.read(folder)
    columns = [Column(**column) for column in record["columns"]]
    return StudyResults(folder, record, columns, _rows(record["cells"]), _rows(record["interactions"]))


def _rows(cells: Sequence[Mapping[str, Any]]) -> list[ResultRow]:
    return [
        ResultRow(
            cell["label"],
            cell.get("strength", 1.0),
            cell.get("values", {}),
            {key: Difference.from_record(record) for key, record in cell.get("difference", {}).items()},
            cell.get("runs", ()),
        )
        for cell in cells
    ]
