"""`regulo list`: every technique there is, where it acts, how its strength scales, and the test that holds it to its formula."""

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from regulo import spec
from regulo.errors import Problem, Refused, nearest
from regulo.regularizers.base import Regularizer, hooks

COLUMNS = ("technique", "hooks", "what", "strength", "source", "formula test")
TESTS = Path(__file__).parents[2] / "tests"
"""beside src/ in a checkout; an installed package has none"""


def list_techniques(arguments: Sequence[str]) -> int:
    """`regulo list [--markdown]`: print the table. Returns the exit code."""
    wrong = [a for a in arguments if a != "--markdown"]
    if wrong:
        raise Refused(Problem("regulo list", f"takes no {wrong[0]!r}", nearest(wrong[0], ["--markdown"])))
    found = list(rows())
    if arguments:
        print(markdown(found))
    else:
        show(found)
    return 0


def show(table: Iterable[Sequence[str]]) -> None:
    """Print the rows for a person."""
    from rich.table import Table

    from regulo.tables import CONSOLE, STYLE

    shown = Table(*COLUMNS, **STYLE | {"show_lines": True})
    for column in shown.columns:
        column.overflow = "fold"  # identifiers are copied from here
    shown.columns[0].no_wrap = True
    for row in table:
        shown.add_row(*row)
    CONSOLE.print(shown)


def rows() -> Iterator[tuple[str, ...]]:
    """Of each technique what `COLUMNS` says, by name."""
    tests = formula_tests(TESTS)
    for name in spec.names("regularizer"):
        technique: Regularizer = spec.load("regularizer", name)()
        what = (technique.__doc__ or "").splitlines()[0].rstrip(".")
        yield name, ", ".join(hooks(technique)), what, scaling(technique), technique.source, ", ".join(tests.get(name, ()))


def scaling(technique: Regularizer) -> str:
    """What a recipe's `strength` does to it."""
    cls = type(technique)
    if cls.scaled is not Regularizer.scaled:
        return (cls.scaled.__doc__ or "").splitlines()[0].rstrip(".")
    return ", ".join(cls.scales) or "on or off"


def markdown(table: Iterable[Sequence[str]]) -> str:
    """The rows as a Markdown table."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *([f"`{name}`", *rest] for name, *rest in table)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def formula_tests(folder: Path) -> dict[str, list[str]]:
    """Names of the test functions below a folder that carry `@pytest.mark.formula("name", …)`, by technique; none is run."""
    found: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for name in _marked(node):
                    found.setdefault(name, []).append(node.name)
    return found


def _marked(function: ast.FunctionDef) -> Iterator[str]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.formula":
            yield from (str(a.value) for a in mark.args if isinstance(a, ast.Constant))
