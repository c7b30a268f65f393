"""Writes the table of `docs/survival.md`, with a row for every `@pytest.mark.fault`: `python -m tests.faults.table`."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
DOC = TESTS.parent / "docs" / "survival.md"
BEGIN, END = "<!-- from the tests: python -m tests.faults.table -->", "<!-- end -->"


def list_faults() -> Iterator[tuple[str, Any]]:
    """(test, mark) of every fault; a parametrized test may have several."""
    for file in sorted(TESTS.rglob("test_*.py")):
        if "mark.fault(" not in file.read_text(encoding="utf-8"):
            continue
        path = file.relative_to(TESTS.parent)
        module = importlib.import_module(".".join(path.with_suffix("").parts))
        for name, function in vars(module).items():
            if not name.startswith("test_"):
                continue
            for mark in getattr(function, "pytestmark", []):
                if mark.name == "fault":
                    yield f"{path}::{name}", mark
                for parameter in mark.args[1] if mark.name == "parametrize" else ():
                    for inner in getattr(parameter, "marks", ()):
                        if inner.name == "fault":
                            yield f"{path}::{name}[{parameter.id}]", inner


def make_row(test: str, mark: Any) -> str:
    """The row of a fault, in Markdown."""
    says = f"`{mark.kwargs['says'].removeprefix('regulo: ')}`" if mark.kwargs["says"] else "–"
    return f"| {mark.args[0]} | {says} | {mark.kwargs['code']} | {mark.kwargs['keeps']} | `{test}` |"


def make_table() -> str:
    """The whole table, in Markdown."""
    rows = [make_row(*fault) for fault in list_faults()]
    return "\n".join(["| fault | what you see | exit code | what is kept | test |", "|---|---|---|---|---|", *rows])


def renew_table(text: str) -> str:
    """The page with the table made again."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{make_table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    text = renew_table(DOC.read_text(encoding="utf-8"))
    DOC.write_text(text, encoding="utf-8")
    print(f"{DOC}: {text.count('`tests/')} faults", file=sys.stderr)
