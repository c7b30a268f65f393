"""`regulo list`: every technique, its hooks, how its strength scales, its source, and the tests of its formula."""

import ast
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from regulo.core import registry
from regulo.core.text import definitions
from regulo.core.yaml_files import PACKAGE
from regulo.regularizers.base import Regularizer, used_hooks

COLUMNS = ("technique", "hooks", "what", "strength", "source", "formula test")
TESTS = PACKAGE.parents[1] / "tests"
"""next to src/ in a checkout; an installed package has no tests"""


def list_techniques(markdown: bool) -> int:
    """Print the table. Returns the exit code."""
    print(markdown_table(rows()) if markdown else "\n".join(describe(row) for row in rows()))
    return 0


def describe(row: Sequence[str]) -> str:
    """A technique as text for the terminal, from its row."""
    name, hooks, what, strength, source, tests = row
    count = len(tests.split(", ")) if tests else 0
    parts = [what, f"hooks: {hooks}; strength: {strength}", f"source: {source}; formula tests: {count}"]
    return "\n".join(definitions([(f"{term:22}", part)], indent=0) for term, part in zip((name, "", ""), parts, strict=True))


def rows() -> Iterator[tuple[str, ...]]:
    """One row with the columns `COLUMNS` for each technique, sorted by name."""
    tests = formula_tests(TESTS)
    for name in registry.list_plugins("regularizer"):
        technique: Regularizer = registry.get_plugin("regularizer", name)()
        what = (technique.__doc__ or "").splitlines()[0].rstrip(".")
        yield (
            name,
            ", ".join(used_hooks(technique)),
            what,
            scaling(technique),
            technique.reference,
            ", ".join(tests.get(name, ())),
        )


def scaling(technique: Regularizer) -> str:
    """What `strength` of a run changes in a technique: its strength fields, or a sentence."""
    cls = type(technique)
    if cls.with_strength is not Regularizer.with_strength:
        return (cls.with_strength.__doc__ or "").splitlines()[0].rstrip(".")
    return ", ".join(cls.strength_fields) or "on or off"


def markdown_table(table: Iterable[Sequence[str]]) -> str:
    """The rows as a Markdown table."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *([f"`{name}`", *rest] for name, *rest in table)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def formula_tests(folder: Path) -> dict[str, list[str]]:
    """By technique, the names of the test functions below a folder with `@pytest.mark.formula("technique", …)`. Runs no test."""
    tests: dict[str, list[str]] = {}
    for file in sorted(folder.rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "mark.formula" in text else ():
            if isinstance(node, ast.FunctionDef):
                for name in _formula_marks(node):
                    tests.setdefault(name, []).append(node.name)
    return tests


def _formula_marks(function: ast.FunctionDef) -> Iterator[str]:
    """The techniques in the formula marks of a test function."""
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.formula":
            yield from (str(a.value) for a in mark.args if isinstance(a, ast.Constant))
