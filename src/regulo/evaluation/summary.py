"""The summary in the terminal after training or evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from regulo.core.console import CONSOLE, STYLE


def print_scores(result: Mapping[str, Any], title: str) -> None:
    """Print a table: accuracy, NLL, ECE and Brier score by split, and the gap."""
    CONSOLE.print(title, style="bold", soft_wrap=True)
    table = Table("", "accuracy", "NLL", "ECE", "Brier", **STYLE)
    for column in table.columns[1:]:
        column.justify = "right"
    names = {"train_clean": "clean train", "val": "validation", "test": "test", "gap": "gap (train, validation)"}
    for split, label in names.items():
        cells = [result.get(f"{split}/{key}") for key in ("acc", "loss", "ece", "brier")]
        if any(c is not None for c in cells):
            table.add_row(label, *("" if c is None else f"{c:.4f}" for c in cells))
    CONSOLE.print(table)


def print_run_folder(path: Path) -> None:
    """Print the run folder and the next commands."""
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    CONSOLE.print(f"run folder: {path}", soft_wrap=True)
    CONSOLE.print(f'again:      make evaluate ARGS="{path}"    curves: make dashboard', soft_wrap=True)
