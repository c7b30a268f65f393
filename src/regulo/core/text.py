"""Text that fits the terminal."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence

FALLBACK_WIDTH = 100
"""columns, if the output is not a terminal and COLUMNS is not set"""


def terminal_width() -> int:
    """The number of columns of the terminal, at least 40."""
    return max(40, shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns)


def wrap(text: str, width: int | None = None) -> str:
    """The text with each line wrapped to the width of the terminal; words are never split.

    A line of the form `term   meaning`, with at least two spaces between them, continues under the meaning.
    """
    width = terminal_width() if width is None else width
    return "\n".join(_wrap_line(line, width) for line in text.splitlines())


def _wrap_line(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = len(line) - len(line.lstrip())
    term = re.match(r"\s*\S.*?\s{2,}(?=\S)", line)
    hang = min(term.end() if term else indent, width // 2)
    head = line[: term.end()] if term else line[:indent]
    body = line[len(head) :]
    lines = textwrap.wrap(
        body,
        width,
        initial_indent=" " * min(len(head), width // 2),
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if len(head) > width // 2:  # the meaning begins on the next line
        return "\n".join([head.rstrip(), *lines])
    return "\n".join([head + lines[0].lstrip(), *lines[1:]])


def definitions(rows: Iterable[tuple[str, str]], width: int | None = None, indent: int = 2) -> str:
    """A list of terms and their meanings in two columns."""
    rows = list(rows)
    column = max(len(term) for term, _ in rows)
    return wrap("\n".join(f"{' ' * indent}{term:{column}}  {meaning}".rstrip() for term, meaning in rows), width)


def format_count(n: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def join_first(names: Sequence[str], n: int = 10) -> str:
    """The first n names with commas, and `…` if there are more."""
    return ", ".join([*names[:n], *["…"] * (len(names) > n)])


def format_duration(seconds: float) -> str:
    """Seconds, or whole minutes from 100 seconds, or hours from 100 minutes."""
    if seconds >= 6000:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def format_bytes(size: float) -> str:
    """A number of bytes with a unit: 999 B, 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
