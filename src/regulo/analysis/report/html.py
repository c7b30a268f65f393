"""A page as one HTML file, without scripts and without requests to the network. Every string is escaped."""

import base64
from pathlib import Path

from regulo.analysis.report import style
from regulo.analysis.report.page import Page
from regulo.core.files import atomic_write
from regulo.core.paths import redact_home

MARKS = {
    "better": ("▲", "significantly better"),
    "worse": ("▼", "significantly worse"),
    "differs": ("◆", "significantly different"),
}
"""the symbol and its text alternative"""

CONTROL = dict.fromkeys([*range(9), *range(11, 32), 127], "\ufffd")
"""control characters, such as ESC: HTML does not allow them, and a terminal would execute them"""


def save(page: Page, file: Path) -> Path:
    """Write the page; returns the file."""
    atomic_write(file, redact_home(render(page)).translate(CONTROL))
    return file


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("regulo.analysis.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["data_url"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    environment.filters["svg"] = lambda picture: Markup(picture.svg())  # matplotlib and `style.svg` escape its texts
    return environment.get_template("page.html").render(page=page, palette=Markup(style.css()), marks=MARKS)
