"""Prints the numbers and the verdict of a claim in the terminal."""

from typing import TYPE_CHECKING

from rich.table import Table

from regulo.core.console import CONSOLE, STYLE

if TYPE_CHECKING:
    from regulo.analysis.claims.base import ClaimResult


def print_result(title: str, result: "ClaimResult", quick: bool) -> None:
    """Print the table and the verdict of a claim. `quick`: say that one seed only gives an indication."""
    CONSOLE.print(title, style="bold", soft_wrap=True)
    table = Table("", "n", "mean", "spread", **STYLE)
    for row in result.rows:
        table.add_row(*row.cells())
    CONSOLE.print(table)
    CONSOLE.print(f"{result.verdict}{' (an indication: one seed)' if quick else ''}: {result.evidence}\n", soft_wrap=True)
