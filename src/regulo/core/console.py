"""The terminal: one console, and one style for tables."""

from typing import Any

from rich import box
from rich.console import Console

CONSOLE = Console(highlight=False, markup=False, emoji=False)
if not CONSOLE.is_terminal:
    CONSOLE = Console(highlight=False, markup=False, emoji=False, width=120)  # a log file has no width

STYLE: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False}
