"""metrics.csv: each row is in the file as soon as it is logged. A killed run loses none, and a resumed run appends to it."""

import csv
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from regulo.core.files import atomic_open, sync
from regulo.tracking.records import check_metrics_row


class CSVLogger(Logger):
    """Writes each row at once.

    Lightning's CSVLogger keeps up to 100 rows in memory, overwrites a file that exists, and does not replace it atomically.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = []
        self.rows = 0
        self._synced_rows = 0

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Empty: a run folder holds one run."""
        return ""

    def truncate(self, rows: int) -> int:
        """Keep the first `rows` rows of the file; the next row is appended after them. Returns how many of them are missing."""
        existing = itertools.islice(self.read_rows(), rows)
        first = next(existing, None)
        if first is None:
            self.columns, self.rows = [], 0
            self.path.unlink(missing_ok=True)
        else:
            self.columns = list(first)
            self.rows = self._rewrite(itertools.chain([first], existing))
        return rows - self.rows

    def sync(self) -> int:
        """The number of rows, once all of them are on disk: a checkpoint that counts them must not be there before them."""
        if self.rows > self._synced_rows and self.path.is_file():
            sync(self.path)
        self._synced_rows = self.rows
        return self.rows

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: they are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row. New columns, which are rare, rewrite the file."""
        row = dict(metrics) | {"step": step}
        new_columns = row.keys() - set(self.columns)
        if new_columns or not self.path.exists():
            existing = itertools.islice(self.read_rows(), self.rows)
            self.columns = sorted({*self.columns, *new_columns})
            self._rewrite(existing)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
        self.rows += 1

    def read_rows(self) -> Iterator[dict[str, str]]:
        """The rows of the file, up to the first that is damaged: a kill cuts the last one short, a power cut may leave zeros."""
        if not self.path.is_file():
            return
        with self.path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            reader = csv.DictReader((line for line in file if line.endswith("\n")), strict=True)
            try:
                for row in reader:
                    if check_metrics_row(row) or not row.get("step", "").isdecimal():
                        return
                    yield row
            except csv.Error:
                return

    def _rewrite(self, rows: Iterable[Mapping[str, str]]) -> int:
        """Replace the file by one with these rows, which may come from it. Returns their number."""
        count = itertools.count()
        with atomic_open(self.path) as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            for row, _ in zip(rows, count, strict=False):
                writer.writerow(row)
        return next(count)
