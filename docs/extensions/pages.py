"""Fills pages in when Sphinx reads them: parts that are made from the code, and files of the repository outside docs/."""

import re
from pathlib import Path

from sphinx.application import Sphinx

from extensions.reference import PARTS

ROOT = Path(__file__).parents[2]
FROM_CODE = re.compile(r"^<!-- from the code: (\w+) -->$", re.M)
FROM_REPOSITORY = re.compile(r"^<!-- from the repository: (\S+) -->$", re.M)
LINK = re.compile(r"\]\((?:\.\./)*(?:(?P<page>CONTRIBUTING|CHANGELOG)\.md|docs/(?P<path>[^)#]+))")


def fill(text: str) -> str:
    """The text of a page with all its parts. Raises KeyError or OSError if it names one that does not exist."""
    text = FROM_CODE.sub(lambda match: PARTS[match[1]](), text)
    text = FROM_REPOSITORY.sub(lambda match: (ROOT / match[1]).read_text(encoding="utf-8"), text)
    return LINK.sub(lambda match: f"](/{match['path'] or match['page'].lower() + '.md'}", text)


def fill_page(app: Sphinx, docname: str, content: list[str]) -> None:
    """Fill a page in that Sphinx has read; it is read again at every build, because the code may have changed."""
    text = fill(content[0])
    if text != content[0]:
        app.env.note_reread()
    content[0] = text


def setup(app: Sphinx) -> dict[str, bool]:
    """Fill every page in when it is read."""
    app.connect("source-read", fill_page)
    return {"parallel_read_safe": True}
