"""A claim's numbers and its verdict in the terminal."""

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from regulo.analysis.claims.base import ClaimResult
from regulo.core.console import CONSOLE, STYLE


def print_result(title: str, found: "ClaimResult", quick: bool) -> None:
    """A claim's numbers and its verdict, which is an indication only if the trial was quick."""
    CONSOLE.print(title, style="bold", soft_wrap=True)
    table = Table("", "n", "mean", "spread", **STYLE)
    for row in found.rows:
        table.add_row(*row.cells())
    CONSOLE.print(table)
    CONSOLE.print(f"{found.verdict}{' (an indication: one seed)' if quick else ''}: {found.evidence}\n", soft_wrap=True)
