"""metrics.csv: a row is on disk as soon as it is logged, so that a killed run loses none, and a resumed one goes on behind it."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger

from regulo.core.files import atomic_write


class CSVLogger(Logger):
    """Lightning's CSVLogger keeps up to a hundred rows in memory, begins a file that exists anew, and rewrites it in place."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.columns: list[str] = []
        self.rows = 0

    @property
    def name(self) -> str:
        """Of the logger."""
        return "csv"

    @property
    def version(self) -> str:
        """A run folder holds one run."""
        return ""

    def truncate(self, rows: int) -> None:
        """Keep the first `rows` of the file and go on behind them."""
        found = self.read_rows()
        self.columns = list(found[0]) if found else []
        self.rows = min(rows, len(found))
        if found:
            self._rewrite(found[: self.rows])

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """They are in config.yaml."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append a row; new columns are rare, and rewrite the file."""
        row = dict(metrics) | {"step": step}
        new = row.keys() - set(self.columns)
        if new:
            before = self.read_rows()[: self.rows]
            self.columns = sorted({*self.columns, *new})
            self._rewrite(before)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
        self.rows += 1

    def read_rows(self) -> list[dict[str, str]]:
        """The rows of the file, without one that was being written when the process was killed."""
        if not self.path.is_file():
            return []
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        return list(csv.DictReader(io.StringIO(whole)))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, self.columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        atomic_write(self.path, text.getvalue())
