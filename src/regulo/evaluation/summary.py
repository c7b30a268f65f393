"""The summary in the terminal after training or evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from regulo.config.overrides import make_command
from regulo.core.console import CONSOLE, STYLE
from regulo.core.metrics.base import list_metrics


def print_scores(result: Mapping[str, Any], title: str) -> None:
    """Print a table: a row for each metric that the result has, a column for each split, and the gap between two of them."""
    CONSOLE.print(title, style="bold", soft_wrap=True)
    titles = {"train_clean": "clean train", "val": "validation", "test": "test", "data": "these images"}
    titles["gap"] = "gap (train, validation)"
    splits = [split for split in titles if any(key.startswith(f"{split}/") for key in result)]
    table = Table("", *(Column(titles[split], justify="right") for split in splits), **STYLE)
    for metric in list_metrics():
        scores = [result.get(f"{split}/{metric.name}") for split in splits]
        if any(score is not None for score in scores):
            table.add_row(metric.title, *("" if score is None else f"{score:.4f}" for score in scores))
    CONSOLE.print(table)


def print_run_folder(path: Path) -> None:
    """Print the run folder and the next commands."""
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    CONSOLE.print(f"run folder: {path}", soft_wrap=True)
    CONSOLE.print(f"again:      {make_command([str(path)], 'evaluate')}    curves: make dashboard", soft_wrap=True)
