"""`docs/survival.md`: a row for every `@pytest.mark.fault`, wherever it is. `python -m tests.faults.table` writes it."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
DOC = TESTS.parent / "docs" / "survival.md"
BEGIN, END = "<!-- from the tests: python -m tests.faults.table -->", "<!-- end -->"


def faults() -> Iterator[tuple[str, Any]]:
    """(test, mark) of every fault; a parametrized test may have several."""
    for file in sorted(TESTS.rglob("test_*.py")):
        if "mark.fault(" not in file.read_text(encoding="utf-8"):
            continue
        place = file.relative_to(TESTS.parent)
        module = importlib.import_module(".".join(place.with_suffix("").parts))
        for name, function in vars(module).items():
            if not name.startswith("test_"):
                continue
            for mark in getattr(function, "pytestmark", []):
                if mark.name == "fault":
                    yield f"{place}::{name}", mark
                for parameter in mark.args[1] if mark.name == "parametrize" else ():
                    for inner in getattr(parameter, "marks", ()):
                        if inner.name == "fault":
                            yield f"{place}::{name}[{parameter.id}]", inner


def row(test: str, mark: Any) -> str:
    """A row of the table."""
    says = f"`{mark.kwargs['says'].removeprefix('regulo: ')}`" if mark.kwargs["says"] else "–"
    return f"| {mark.args[0]} | {says} | {mark.kwargs['code']} | {mark.kwargs['keeps']} | `{test}` |"


def table() -> str:
    """The table, in Markdown."""
    rows = [row(*fault) for fault in faults()]
    return "\n".join(["| fault | what you see | exit code | what is kept | test |", "|---|---|---|---|---|", *rows])


def renewed(text: str) -> str:
    """The page with the table of today."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    text = renewed(DOC.read_text(encoding="utf-8"))
    DOC.write_text(text, encoding="utf-8")
    print(f"{DOC}: {text.count('`tests/')} faults", file=sys.stderr)
