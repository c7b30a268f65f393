"""Write the tree of src/regulo, two levels deep, into docs/design.md.

    python scripts/tree.py            writes it
    python scripts/tree.py --check    exit code 1 if the page is out of date; a test calls this

The text of an entry is the first line of the docstring of that module or package. The order comes from the imports: an entry
imports only from entries below it. The exit code is also 1 if packages import each other in a circle.
"""

import ast
import graphlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "regulo"
PAGE = ROOT / "docs" / "design.md"
BEGIN, END = "<!-- begin: python scripts/tree.py -->\n", "<!-- end -->\n"
COLUMN, WIDTH = 24, 130
EXTENSIONS = {
    "regularizers": "technique",
    "models": "architecture",
    "data": "data set",
    "optim": "optimizer",
    "callbacks": "callback",
    "metrics": "metric",
}
"""folders that hold one file per extension, and what an extension is there"""


def summary(path: Path) -> str:
    """The first line of the docstring of a module or package. Raises SystemExit if there is none."""
    file = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not docstring:
        raise SystemExit(f"{file.relative_to(ROOT)}: has no docstring")
    return docstring.splitlines()[0]


def imports(file: Path) -> Iterator[str]:
    """The entries of src/regulo that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "regulo":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = (node.module or "").split(".")
            yield from names[1:2] if names[0] == "regulo" else ()
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("regulo."))


def packages() -> list[Path]:
    """The packages, from top to bottom: each imports only from those below it. Raises SystemExit if there is a circle."""
    folders = {path.parent.name: path.parent for path in SOURCE.glob("*/__init__.py")}
    edges = {}
    for name, folder in folders.items():
        targets = {target for file in folder.rglob("*.py") for target in imports(file)}
        edges[name] = targets & folders.keys() - {name}
    sorter = graphlib.TopologicalSorter(edges)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise SystemExit(f"packages import each other in a circle: {' → '.join(error.args[1])}") from None
    order: list[str] = []
    while sorter.is_active():
        level = sorted(sorter.get_ready(), reverse=True)
        order += level
        sorter.done(*level)
    return [folders[name] for name in reversed(order)]


def children(package: Path) -> list[tuple[str, str]]:
    """(name, text) of what a package holds: its sub-packages and its modules."""
    paths = [p.parent if p.name == "__init__.py" else p for p in (*package.glob("*.py"), *package.glob("*/__init__.py"))]
    paths = sorted(p for p in paths if p != package)
    plugins = [p for p in paths if p.suffix and p.stem != "base"] if package.name in EXTENSIONS else []
    rows = [(p.stem + ("" if p.suffix else "/"), summary(p)) for p in paths if p not in plugins]
    if plugins:
        rows.append(("…", f"One file per {EXTENSIONS[package.name]} ({len(plugins)})."))
    return rows


def line(depth: int, name: str, text: str) -> str:
    """One entry of the tree; a long text goes on in the lines below, under its beginning."""
    first = (" " * 2 * depth + name).ljust(COLUMN - 1) + " "
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * COLUMN, break_long_words=False)


def tree() -> str:
    """The tree, as a block of Markdown."""
    lines = ["src/regulo/", line(1, "__main__.py", summary(SOURCE / "__main__.py"))]
    for package in packages():
        lines += ["", line(1, package.name + "/", summary(package))]
        lines += [line(2, name, text) for name, text in children(package)]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def main() -> int:
    """Write the page, or check it."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE.relative_to(ROOT)}: has no lines {BEGIN.strip()} … {END.strip()}")
    page = before + BEGIN + tree() + END + after
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(page, encoding="utf-8")
    elif page != text:
        print(f"{PAGE.relative_to(ROOT)} is out of date: run python scripts/tree.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
