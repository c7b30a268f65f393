"""What the source code says of configuration classes: importing them imports torch, which takes seconds.

Classes that are there do not know their fields' docstrings: pydantic would look for them whenever a class is made.
"""

import ast
import importlib.util
import inspect
import itertools
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

Definition = tuple[str, ast.stmt]
"""a module, and the statement in it that defines a name"""


def read_fields(module: str, name: str = "") -> dict[str, list[str]]:
    """The fields of a class, each with its valid values if these are few. Without a name: of the extension in the module."""
    names = [name] if name else [node.name for node in _source(module).body if isinstance(node, ast.ClassDef)]
    for candidate in names:
        lineage = list(_lineage(module, candidate))
        if name or any(where.endswith(".base") for where, _ in lineage):
            return {field: values for where, cls in reversed(lineage) for field, values in _own_fields(where, cls)}
    return {}


def read_constant(module: str, name: str) -> Any:
    """The value of a class attribute of the extension in a module, which its class or a base class sets; None if none does."""
    for node in _source(module).body:
        if isinstance(node, ast.ClassDef):
            for _, cls in _lineage(module, node.name):
                for statement in cls.body:
                    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
                    if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                        return ast.literal_eval(statement.value)  # type: ignore[attr-defined]
    return None


def read_meanings(cls: type) -> dict[str, str]:
    """The docstrings below the fields of a class, by field, also of those that it inherits."""
    meanings: dict[str, str] = {}
    owners = itertools.takewhile(lambda owner: not owner.__module__.startswith("pydantic."), cls.__mro__)
    for owner in reversed(list(owners)):
        for node in _source(owner.__module__).body:
            if isinstance(node, ast.ClassDef) and node.name == owner.__name__:
                meanings |= _docstrings(node)
    return meanings


def _docstrings(cls: ast.ClassDef) -> dict[str, str]:
    """The texts that stand directly below the fields of a class."""
    return {
        field.target.id: inspect.cleandoc(str(below.value.value))
        for field, below in itertools.pairwise(cls.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }


def _own_fields(module: str, cls: ast.ClassDef) -> Iterator[tuple[str, list[str]]]:
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = {part.id for part in ast.walk(node.annotation) if isinstance(part, ast.Name)}
            if "ClassVar" not in names and not node.target.id.startswith("_"):
                yield node.target.id, _values(module, node.annotation)


def _values(module: str, annotation: ast.expr) -> list[str]:
    """The words that an annotation allows, from its literals and booleans."""
    values: list[str] = []
    for part in ast.walk(annotation):
        if isinstance(part, ast.Subscript) and isinstance(part.value, ast.Name) and part.value.id == "Literal":
            values += [str(word.value) for word in ast.walk(part.slice) if isinstance(word, ast.Constant)]
        elif isinstance(part, ast.Name) and part.id == "bool":
            values += ["true", "false"]
        elif isinstance(part, ast.Name) and (definition := _find_definition(module, part.id)):
            owner, statement = definition
            if isinstance(statement, ast.Assign):  # a type alias
                values += _values(owner, statement.value)
    return values


def _lineage(module: str, name: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """A class and its base classes, as far as they are defined in Regulo."""
    owner, cls = _find_definition(module, name) or ("", None)
    if isinstance(cls, ast.ClassDef):
        yield owner, cls
        for base in cls.bases:
            base = base.value if isinstance(base, ast.Subscript) else base
            if isinstance(base, ast.Name):
                yield from _lineage(owner, base.id)


def _find_definition(module: str, name: str) -> Definition | None:
    """The definition of a name that a module defines, or imports from another module of Regulo."""
    for node in _source(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return module, node
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("regulo."):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return _find_definition(str(node.module), alias.name)
    return None


@cache
def _source(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else "")
