"""A page as one HTML file without scripts, that asks nothing of the network. Every string is escaped."""

import base64
from pathlib import Path

from regulo.analysis.report import style
from regulo.analysis.report.page import Page
from regulo.core.files import atomic_write
from regulo.core.paths import redact_home

MARKS = {"better": ("▲", "clearly better"), "worse": ("▼", "clearly worse"), "differs": ("◆", "clearly different")}
"""symbol and words"""


CONTROL = dict.fromkeys([*range(9), *range(11, 32), 127], "\ufffd")
"""characters that are not text, such as ESC: HTML does not allow them, and a terminal obeys them"""


def save(page: Page, file: Path) -> Path:
    """Write the page; returns the file."""
    atomic_write(file, redact_home(render(page)).translate(CONTROL))
    return file


def render(page: Page) -> str:
    """The page's text."""
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
    environment.filters["data"] = lambda png: "data:image/png;base64," + base64.b64encode(png).decode()
    environment.filters["element"] = lambda picture: Markup(picture.svg())  # matplotlib and `style.svg` have escaped its texts
    return environment.get_template("page.html").render(page=page, palette=Markup(style.css()), marks=MARKS)
