"""The parts of a page, in the order in which they are read. `html` and `wandb_report` render them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from regulo.analysis.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Code:
    """A command to copy."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of short sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class TableCell:
    """A cell of a table."""

    text: str
    note: str = ""
    """smaller text below"""
    mark: str = ""
    """"better", "worse" or "differs": shown as a symbol with a text alternative"""


@dataclass(frozen=True)
class Table:
    """A table whose rows begin with their names."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    folded: bool = False
    """whether the table, because it is long, is closed until the reader opens it"""
    words: bool = False
    """whether its cells are words, not numbers"""


@dataclass(frozen=True)
class Picture:
    """A figure with a title, and a sentence that says what it shows and names n."""

    name: str
    title: str
    text: str
    figure: "Figure"

    def svg(self) -> str:
        """The figure as an SVG element."""
        return style.svg(self.figure, self.name, self.title, self.text)


@dataclass(frozen=True)
class Figures:
    """Figures side by side where there is room."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Photo:
    """An image of pixels, as PNG."""

    png: bytes
    text: str


@dataclass(frozen=True)
class Gallery:
    """Small images, each with its text."""

    photos: Sequence[Photo]
    large: bool = False
    """one image across the page; it scrolls where it is too wide"""


Block = Text | Code | Bullets | Table | Figures | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and the blocks below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Fact:
    """A number at the top of the page."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """A page: its subject, its main numbers, and its sections. Sections without blocks are not shown."""

    title: str
    lead: str
    facts: Sequence[Fact]
    sections: Sequence[Section] = field(default_factory=tuple)
    colophon: str = ""
    """what made the page, when, and from what"""
