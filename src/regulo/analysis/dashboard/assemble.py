"""The page as one HTML file: its style, its script and its data are in it, and it asks nobody else for anything."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulo.analysis.report import style

ASSETS = Path(__file__).parent / "assets"
IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+\.js)";\n', re.M)
FORBIDDEN = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})
"""letters that could end a script element, as JSON can also write them"""


@dataclass(frozen=True)
class Page:
    """The HTML, and the policy (Content-Security-Policy) that allows its own style and script and nothing else."""

    html: str
    policy: str


def assemble(overview: Mapping[str, Any], details: Sequence[Mapping[str, Any]] = (), footer: str = "") -> Page:
    """The page of an overview. `details`: those of every run, in the order of the overview, for a page without a server."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    script, css = bundle("main.js"), style.css() + (ASSETS / "dashboard.css").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(css)}'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    environment = Environment(loader=PackageLoader(__package__, "assets"), autoescape=True, undefined=StrictUndefined)
    html = environment.get_template("page.html").render(
        policy=policy,
        style=Markup(css),
        script=Markup(script),
        overview=Markup(embed_json(overview)),
        details=[Markup(embed_json(run)) for run in details],
        footer=footer,
    )
    return Page(html, policy)


def bundle(name: str) -> str:
    """An ES module and all that it imports as one script, each file once and after those that it imports.

    No two files may have a name in common: a test checks that.
    """
    sources: dict[str, str] = {}

    def add(file: str) -> None:
        if file not in sources:
            text = (ASSETS / file).read_text(encoding="utf-8")
            sources[file] = ""
            for imported in IMPORT.findall(text):
                add(imported)
            sources[file] = sources.pop(file) + re.sub(r"^export ", "", IMPORT.sub("", text), flags=re.M)

    add(name)
    return '(() => {\n"use strict";\n' + "\n".join(sources.values()) + "})();\n"


def dump_json(content: Any) -> str:
    """Compact JSON in ASCII; numbers that JSON does not have (NaN, infinite) become null."""
    return json.dumps(_without_nan(content), separators=(",", ":"), allow_nan=False)


def embed_json(content: Any) -> str:
    """JSON for a script element."""
    return dump_json(content).translate(FORBIDDEN)


def _without_nan(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {str(key): _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return content


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
