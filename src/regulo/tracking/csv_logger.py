"""metrics.csv: each row is on disk as soon as it is logged. A killed run loses none, and a resumed run appends to the file."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from regulo.core.files import atomic_write


class CSVLogger(Logger):
    """Writes each row at once.

    Lightning's CSVLogger keeps up to 100 rows in memory, overwrites a file that exists, and does not replace it atomically.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = []
        self.rows = 0

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Empty: a run folder holds one run."""
        return ""

    def truncate(self, rows: int) -> None:
        """Keep the first `rows` rows of the file; the next row is appended after them."""
        existing = self.read_rows()
        self.columns = list(existing[0]) if existing else []
        self.rows = min(rows, len(existing))
        if existing:
            self._rewrite(existing[: self.rows])

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: they are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row. New columns, which are rare, rewrite the file."""
        row = dict(metrics) | {"step": step}
        new_columns = row.keys() - set(self.columns)
        if new_columns:
            existing = self.read_rows()[: self.rows]
            self.columns = sorted({*self.columns, *new_columns})
            self._rewrite(existing)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
        self.rows += 1

    def read_rows(self) -> list[dict[str, str]]:
        """The rows of the file. A last row without a line break, cut short by a kill, is left out."""
        if not self.path.is_file():
            return []
        complete_lines, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        return list(csv.DictReader(io.StringIO(complete_lines)))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(self.path, text.getvalue())
