"""The summary in the terminal after training or evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from regulo.config.overrides import make_command
from regulo.core.console import CONSOLE, STYLE
from regulo.core.metrics.base import list_metrics


def print_scores(result: Mapping[str, Any], title: str) -> None:
    """Print a table: every metric by split, and the gap. A score that the result does not have is left empty."""
    CONSOLE.print(title, style="bold", soft_wrap=True)
    metrics = list_metrics()
    table = Table("", *(metric.title for metric in metrics), **STYLE)
    for column in table.columns[1:]:
        column.justify = "right"
    names = {
        "train_clean": "clean train",
        "val": "validation",
        "test": "test",
        "gap": "gap (train, validation)",
        "data": "these images",
    }
    for split, label in names.items():
        cells = [result.get(f"{split}/{metric.name}") for metric in metrics]
        if any(c is not None for c in cells):
            table.add_row(label, *("" if c is None else f"{c:.4f}" for c in cells))
    CONSOLE.print(table)


def print_run_folder(path: Path) -> None:
    """Print the run folder and the next commands."""
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    CONSOLE.print(f"run folder: {path}", soft_wrap=True)
    CONSOLE.print(f"again:      {make_command([str(path)], 'evaluate')}    curves: make dashboard", soft_wrap=True)
