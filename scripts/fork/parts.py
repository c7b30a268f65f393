"""Which files a form of the project has, and what that leaves out: `parts.toml` says it."""

import ast
import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MANIFEST = tomllib.loads(Path(__file__).with_name("parts.toml").read_text(encoding="utf-8"))
FORMS: dict[str, list[str]] = MANIFEST["forms"]
SOURCE = "src/"
BY_FOLDER = (
    "src/regulo/{models,data,regularizers,optim,callbacks,core/metrics,tracking/backends}/*.py",
    "src/regulo/analysis/{claims,doctor/rules}/*.py",
)
"""modules that are found by their folder, and so need no import"""


@dataclass(frozen=True)
class Omission:
    """What a form leaves out."""

    files: frozenset[str]
    modules: frozenset[str]
    """dotted names of modules, and of packages of which nothing is left"""
    commands: frozenset[str]
    options: frozenset[tuple[str, str]]
    """(group, name) of models, data sets, techniques, …: the folders and names of their YAML files"""
    groups: frozenset[str]
    """groups of options of which none is left"""
    tests: frozenset[str]
    """dotted names of tests that need the parts, and do not name them"""
    paragraphs: tuple[str, ...]
    """beginnings of paragraphs and headings of pages"""
    topics: tuple[str, ...] = ()
    """patterns of what sentences of pages are about, beside the names in them"""


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path has one of these patterns: * in a name, ** over folders, {a,b} for one of several."""
    return any(_compile(pattern).fullmatch(path) for pattern in patterns)


@functools.cache
def _compile(pattern: str) -> re.Pattern[str]:
    tokens = {"**": ".*", "*": "[^/]*", "{": "(?:", "}": ")", ",": "|"}
    return re.compile("".join(tokens.get(token) or re.escape(token) for token in re.findall(r"\*\*|.", pattern)))


def part_of(path: str) -> str:
    """The part that a file belongs to, or "core"."""
    return next((name for name, part in MANIFEST["parts"].items() if matches(path, part["files"])), "core")


def split_form(files: Mapping[str, bytes], form: str, techniques: Iterable[str]) -> Omission:
    """What a form of these files leaves out. `techniques`: those that stay, if the form does not have all."""
    left_out_parts = {name: part for name, part in MANIFEST["parts"].items() if name not in FORMS[form]}
    keep = [*MANIFEST["parts"]["extensions"]["keep"]]
    keep += [p for name in techniques for p in (f"src/regulo/regularizers/{name}.py", f"configs/regularizer/{name}.yaml")]
    left_out = {
        path for path in files if (part := part_of(path)) in left_out_parts and not (part == "extensions" and matches(path, keep))
    }
    left_out |= _find_orphans(files, left_out)
    left_out |= _find_recipes(files, left_out)
    remaining = set(files) - left_out
    modules = {m for m in map(module_name, left_out) if m and not any(r.startswith(_folder(m)) for r in remaining)}
    options = set(map(option_of, left_out)) - {("", "")}
    return Omission(
        frozenset(left_out),
        frozenset(modules),
        frozenset(command for part in left_out_parts.values() for command in part.get("commands", ())),
        frozenset(options),
        frozenset({group for group, _ in options} - {group for group, _ in map(option_of, remaining)}),
        frozenset(dotted_test(test) for part in left_out_parts.values() for test in part.get("tests", ())),
        tuple(text for part in left_out_parts.values() for text in part.get("paragraphs", ())),
        tuple(topic for part in left_out_parts.values() for topic in part.get("topics", ())),
    )


def module_name(path: str) -> str:
    """regulo.core.errors of src/regulo/core/errors.py, the package of an __init__.py, and "" of any other file."""
    if not path.startswith(SOURCE) or not path.endswith(".py"):
        return ""
    return path.removeprefix(SOURCE).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def dotted_test(test: str) -> str:
    """tests.core.test_rng.test_it of tests/core/test_rng.py::test_it."""
    return test.replace(".py::", ".").replace("/", ".")


def option_of(path: str) -> tuple[str, str]:
    """("model", "vit_tiny") of configs/model/vit_tiny.yaml, and ("", "") of any other file."""
    match = re.fullmatch(r"configs/(\w+)/(\w+)\.yaml", path)
    return (match[1], match[2]) if match else ("", "")


def _folder(module: str) -> str:
    return SOURCE + module.replace(".", "/") + "/"


def _find_recipes(files: Mapping[str, bytes], left_out: set[str]) -> set[str]:
    """The experiments that choose an option that is left out."""
    names = {f"{group}: {name}" for group, name in map(option_of, left_out)}
    recipes = (path for path in files if path.startswith("configs/experiment/"))
    return {path for path in recipes if names & _list_choices(files[path].decode())}


def _list_choices(recipe: str) -> set[str]:
    """`model: vit_tiny` and the like, for each choice of an experiment."""
    choices = re.findall(r"^  - (?:override )?/(\w+): \[?([\w, ]+)\]?", recipe, re.M)
    return {f"{group}: {name}" for group, names in choices for name in re.findall(r"\w+", names)}


def _find_orphans(files: Mapping[str, bytes], left_out: set[str]) -> set[str]:
    """The modules that were imported, but only by modules that are left out."""
    importers: dict[str, set[str]] = {}
    for path in files:
        if module := module_name(path):
            for target in _mentioned_modules(files[path].decode()) - {module}:
                importers.setdefault(target, set()).add(path)
    orphans: set[str] = set()
    candidates = {
        module_name(p): p for p in files if module_name(p) and not p.endswith("__init__.py") and not matches(p, BY_FOLDER)
    }
    while more := {
        path
        for module, path in candidates.items()
        if path not in orphans | left_out and importers.get(module) and importers[module] <= orphans | left_out
    }:
        orphans |= more
    folders = {path.rpartition("/")[0] + "/" for path in orphans}
    emptied = {f for f in folders if all(p in orphans or p.endswith("/__init__.py") for p in files if p.startswith(f))}
    return orphans | {path for path in files if any(path.startswith(folder) for folder in emptied)}


def _mentioned_modules(text: str) -> set[str]:
    """Every module that code imports or names in a string."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[\w.]+(:\w+)?", node.value):
            names.add(node.value.partition(":")[0])
    return names
