"""The names of a project: one that the user gives, and four that follow from it."""

import functools
import importlib.metadata
import keyword
import re
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from fork.problems import Problem, RefusalError

LONGEST = 40
"""letters of a package name"""
UPSTREAM = "regulo"


@dataclass(frozen=True)
class Names:
    """How a project is called in each kind of place."""

    title: str
    """in sentences: Leaf disease"""

    @property
    def package(self) -> str:
        """In Python, and of the folder below src/: leaf_disease."""
        return re.sub(r"[^a-z0-9]+", "_", plain_letters(self.title).lower()).strip("_")

    @property
    def command(self) -> str:
        """Of the command, the distribution and the project on W&B: leaf-disease."""
        return self.package.replace("_", "-")

    @property
    def variable(self) -> str:
        """Before the names of environment variables: LEAF_DISEASE."""
        return self.package.upper()


def plain_letters(text: str) -> str:
    """The text with the letters of ASCII that are nearest to its own: é → e, ß → ss. Letters without any are lost."""
    text = text.replace("ß", "ss").replace("æ", "ae").replace("ø", "o").replace("œ", "oe").replace("ł", "l")
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def parse_name(text: str, checkout: Path) -> Names:
    """The names that follow from what the user calls the project. Raises RefusalError with everything that is wrong."""
    title = " ".join(unicodedata.normalize("NFC", text).split())
    names = Names(title[:1].upper() + title[1:])
    problems = list(_find_problems(title, names, checkout))
    if problems:
        suggestion = _suggest(title, checkout)
        raise RefusalError(*(Problem("NAME", what, f"for example {suggestion!r}") for what in problems))
    return names


def _find_problems(title: str, names: Names, checkout: Path) -> list[str]:
    problems = []
    if not title:
        return ["is empty"]
    if invalid := sorted({c for c in title if not (c.isalnum() or c in " ._-" or unicodedata.combining(c))}):
        problems.append(
            f"has {' '.join(ascii(c)[1:-1] if not c.isprintable() else c for c in invalid)}; "
            "letters, digits, spaces and . - _ are possible"
        )
    if lost := sorted({c for c in title if c.isalnum() and not plain_letters(c)}):
        problems.append(f"has {' '.join(lost)}, which have no letter of a to z near them for the package name")
    package = names.package
    if not package:
        return problems or ["has no letter"]
    if package[0].isdigit():
        problems.append("begins with a digit, as no Python package can")
    if len(package) > LONGEST:
        problems.append(f"is longer than {LONGEST} letters")
    if reason := reserved_names(checkout).get(package):
        problems.append(f"the package would be called {package}, which is {reason}")
    return problems


@functools.cache
def reserved_names(checkout: Path) -> dict[str, str]:
    """Names that a package cannot have, and what they are already."""
    locks = "\n".join(file.read_text(encoding="utf-8") for file in checkout.glob("locks/*.lock"))
    makefile = (checkout / "Makefile").read_text(encoding="utf-8")
    ignored = re.findall(r"^/?(\w+)/$", (checkout / ".gitignore").read_text(encoding="utf-8"), re.M)
    installed = importlib.metadata.packages_distributions()
    reasons = {
        "a package of an environment or of this machine": [*installed, *re.findall(r"^([\w.-]+)==", locks, re.M)],
        "a package that is imported here": [
            "torch",
            "cv2",
            "hydra",
            "pil",
            "yaml",
            "sklearn",
            "skimage",
            "tensorflow",
            "jax",
            "timm",
        ],
        "a part of this project": [p.stem for p in checkout.glob(f"src/{UPSTREAM}/*")],
        "a make target": re.findall(r"^([a-z-]+):", makefile, re.M),
        "a folder of this project": [*(p.name for p in checkout.iterdir() if p.is_dir()), *ignored, "tests", "data", "runs"],
        "a module of Python": sys.stdlib_module_names,
        "a word of Python": [*keyword.kwlist, *keyword.softkwlist],
        "the project that this one is made from": [UPSTREAM],
    }
    return {re.sub(r"[-.]+", "_", name).lower(): reason for reason, group in reasons.items() for name in group}


def _suggest(title: str, checkout: Path) -> str:
    """A name like the one that cannot be used."""
    words = re.findall(r"[a-z0-9]+", plain_letters(title).lower())
    while len("_".join(words)) > LONGEST - 8:
        words = words[:-1] or [words[0][: LONGEST - 8]]
    plain = " ".join(words)
    if plain and not plain[0].isdigit() and "_".join(words) not in reserved_names(checkout):
        return plain
    return f"my {plain or 'project'}"
