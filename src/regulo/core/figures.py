"""Matplotlib figures without a display."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of this size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def shorten(text: str, length: int = 22) -> str:
    """The text of a label, cut to `length` letters."""
    return text if len(text) <= length else text[: length - 1] + "…"
