"""What a page is made of, in the order in which it is read; `html` and `wandb_report` show it."""

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
    """A command, to be copied."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """Short sentences of equal rank."""

    items: Sequence[str]


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    note: str = ""
    """smaller, below"""
    mark: str = ""
    """"better", "worse" or "differs": a symbol with a text alternative"""


@dataclass(frozen=True)
class Table:
    """The first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    folded: bool = False
    """long: shown when it is asked for"""
    words: bool = False
    """its cells are words, not numbers"""


@dataclass(frozen=True)
class Picture:
    """A figure, what it is, and what it shows in a sentence that names n."""

    name: str
    title: str
    text: str
    figure: "Figure"

    def svg(self) -> str:
        """It as an element of a page."""
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
    """Small images, each with its words."""

    photos: Sequence[Photo]
    large: bool = False
    """one image across the page, that scrolls where it is too wide"""


Block = Text | Code | Bullets | Table | Figures | Gallery


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Fact:
    """A number that the page begins with."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """A page: what it is about, its main numbers, and its sections. Sections without blocks are not shown."""

    title: str
    lead: str
    facts: Sequence[Fact]
    sections: Sequence[Section] = field(default_factory=tuple)
    colophon: str = ""
    """who made it, when, with what"""
