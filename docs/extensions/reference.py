"""The parts of pages that are made from the code: a function for each."""

import importlib
import inspect
import re
import textwrap
from argparse import Action
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from regulo.__main__ import build_commands
from regulo.config.catalog import scaling
from regulo.config.help import Section, describe_range, list_sections
from regulo.core import registry
from regulo.core.metrics.base import list_metrics
from regulo.core.text import wrap
from regulo.core.yaml_files import config_dir
from regulo.regularizers.base import used_hooks
from regulo.tracking.records import Result

ROOT = Path(__file__).parents[2]
WIDTH = 88
"""columns of a block of text that fit the page"""


def keys() -> str:
    """Every key of a run's configuration, but those of the techniques."""
    return "\n\n".join(_section(section) for section in list_sections() if section.group != "regularizer")


def techniques() -> str:
    """Every technique: what it does, its formula, its source, its keys, and what it cannot run with."""
    sections = {section.name: section for section in list_sections() if section.group == "regularizer"}
    return "\n\n".join(_technique(name, section) for name, section in sections.items())


def commands() -> str:
    """What every command takes, as its `--help` says it."""
    return "\n\n".join(
        f"## {command.parser.prog}\n\n{_sentence(command.summary)}\n\n{_details(command.parser.description or '')}"
        f"\n\n{_arguments(command.parser._actions)}"
        for command in build_commands().values()
    )


def targets() -> str:
    """The targets of the Makefile."""
    lines = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    return table(("target", "what it does"), ((f"`make {name}`", escape(what)) for name, what in lines))


def metrics() -> str:
    """Every metric, in the order of the tables."""
    rows = (
        (f"`{m.name}`", escape(m.title), escape(_docstring(type(m))), m.unit or "–", m.better, escape(m.reference))
        for m in list_metrics()
    )
    return table(("key", "title", "meaning", "unit", "better", "source"), rows)


def result_keys() -> str:
    """The keys of result.json."""
    properties: dict[str, Any] = TypeAdapter(Result).json_schema()["properties"]
    names = {metric.name for metric in list_metrics()}
    rows = (
        (f"`{key}`", escape(schema["description"]) + _words(schema))
        for key, schema in properties.items()
        if key.startswith("gap/") or key.partition("/")[2] not in names
    )
    return table(("key", "meaning"), rows)


def recipes() -> str:
    """The files of configs/experiment and configs/study."""
    return "\n\n".join(
        f"## {title}\n\n"
        + "\n\n".join(
            f"### {file.stem}\n\n```yaml\n{file.read_text(encoding='utf-8').rstrip()}\n```"
            for file in sorted((config_dir() / group).glob("*.yaml"))
        )
        for title, group in (("Experiments", "experiment"), ("Studies", "study"))
    )


def _section(section: Section) -> str:
    cls = registry.get_plugin(section.group, section.name) if section.name else None
    source = f" Source: {escape(cls.reference)}." if cls and cls.reference else ""
    return f"## {section.title}\n\n{escape(section.summary)}{source}\n\n{_fields(section)}"


def _technique(name: str, section: Section) -> str:
    cls = registry.get_plugin("regularizer", name)
    module = importlib.import_module(cls.__module__)
    return "\n\n".join(
        [
            f"## {name}",
            escape(section.summary),
            _prose(module.__doc__ or ""),
            table(
                ("", ""),
                [
                    ("hooks", ", ".join(f"`{hook}`" for hook in used_hooks(cls()))),
                    ("strength", escape(scaling(cls()))),
                    ("source", escape(cls.reference)),
                    *((f"not with `{other}`", escape(why)) for other, why in cls.incompatible.items()),
                    *((f"needs `{other}`", escape(why)) for other, why in cls.requires.items()),
                ],
            ),
            _fields(section),
        ]
    )


def _fields(section: Section) -> str:
    if not section.fields:
        return "It has no keys."
    rows = (
        (f"`{field.key}`", f"`{field.default}`", escape(describe_range(field.schema)), escape(field.meaning))
        for field in section.fields.values()
    )
    return table(("key", "default", "values", "meaning"), rows)


def _words(schema: dict[str, Any]) -> str:
    return ": " + ", ".join(f"`{word}`" for word in schema["enum"]) if "enum" in schema else ""


def _details(description: str) -> str:
    details = description.partition("\n\n")[2]
    return _block(wrap(details, WIDTH)) if details else ""


def _arguments(actions: Iterable[Action]) -> str:
    rows = [
        (f"`{_usage(action)}`", escape((action.help or "").replace("%%", "%"))) for action in actions if action.dest != "help"
    ]
    return table(("argument", "meaning"), rows) if rows else "It takes no arguments."


def _usage(action: Action) -> str:
    value = action.metavar or action.dest
    if not action.option_strings:
        return str(value)
    return ", ".join(action.option_strings) + (f" {value}" if action.nargs != 0 else "")


def _docstring(thing: Any) -> str:
    return " ".join((thing.__doc__ or "").split())


def _prose(docstring: str) -> str:
    """A docstring as Markdown: its paragraphs, and blocks of code for the formulas, which are indented."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(_block(text) if text.startswith("  ") else escape(text) for text in paragraphs)


def _block(text: str) -> str:
    return f"```text\n{textwrap.dedent(text)}\n```"


def _sentence(text: str) -> str:
    return escape(text[:1].upper() + text[1:]) + "."


def escape(text: str) -> str:
    """Plain text with `code` in it as Markdown that shows it."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([\\<>*_\[\]{}$])", r"\\\1", part) for part in parts)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


PARTS: dict[str, Callable[[], str]] = {
    function.__name__: function for function in (keys, techniques, commands, targets, metrics, result_keys, recipes)
}
