"""The YAML files of configs/ that make a run, read and checked before Hydra does: its messages name neither file nor cause."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from regulo.config.schema import MULTI, SECTIONS, SINGLE
from regulo.core import yaml_files
from regulo.core.errors import InputError, Problem, quote

GLOBAL_GROUPS = ("experiment", "debug")
"""groups whose files set keys of the whole run"""


@dataclass(frozen=True)
class ConfigFile:
    """A YAML file of configs/."""

    path: Path

    @property
    def name(self) -> str:
        """The path for messages."""
        return yaml_files.display_name(self.path)

    @property
    def group(self) -> str:
        """The config group; empty for train.yaml."""
        return self.path.parent.name if self.path.parent != yaml_files.config_dir() else ""

    @cached_property
    def text(self) -> str:
        """The text. Raises InputError."""
        raw = self.path.read_bytes()
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            raise self._error(f"line {line} is not UTF-8 text", "save the file as UTF-8") from None
        if text.startswith("\ufeff"):
            raise self._error("it begins with a byte order mark (BOM)", "save the file as UTF-8 without BOM")
        return text

    @cached_property
    def content(self) -> dict[str, Any]:
        """The keys and values. Raises InputError if it is not a file of keys and values."""
        try:
            content = yaml.safe_load(self.text)
        except yaml.MarkedYAMLError as error:
            number = error.problem_mark.line if error.problem_mark else 0
            line = (self.text.splitlines() or [""])[min(number, self.text.count("\n"))]
            what = "the key is empty" if line.lstrip(" -").startswith(":") else str(error.problem or error.context)
            raise self._error(f"line {number + 1}: {what}", "indent with spaces" if "\t" in line else "") from None
        except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
            raise self._error(f"it cannot be read: {' '.join(str(error).split())[:200]}") from None
        if content is None:
            raise self._error("it is empty", "write {} if it sets nothing")
        if not isinstance(content, dict):
            raise self._error(f"it is not made of keys and values, but {quote(content)}", "write key: value")
        problems = list(self._find_problems(content))
        if problems:
            raise InputError(*problems)
        return content

    @property
    def is_global(self) -> bool:
        """Whether its keys are those of the whole run, not of its group."""
        head = re.match(r"(\s*(#.*)?\n)*", self.text + "\n")
        return not self.group or bool(head and re.search(r"#\s*@package\s+_global_\s*$", head[0], re.MULTILINE))

    def defaults(self) -> Iterator[tuple[str, list[str]]]:
        """The groups that its list of defaults sets, and the options."""
        for entry in self.content.get("defaults") or []:
            if isinstance(entry, str) and entry != "_self_":
                yield self.group, [entry.removesuffix(".yaml")]
            elif isinstance(entry, Mapping):
                for key, value in entry.items():
                    group = re.sub(r"^(override |optional )*/?|@.*", "", key)
                    yield group, [str(v) for v in (value if isinstance(value, list) else [value]) if v is not None]

    def open_keys(self) -> list[str]:
        """The keys whose value is left to the command line: ???."""
        prefix = () if self.is_global else (self.group,)
        return [".".join(path) for path, value in _walk(self.content, prefix) if value == "???"]

    def _find_problems(self, content: dict[Any, Any]) -> Iterator[Problem]:
        try:
            values = list(_walk(content))
        except RecursionError:
            yield self._problem("a value holds itself, or is nested too deeply", "write it without *aliases")
            return
        for path, value in values:
            key = path[-1]
            if not isinstance(key, str) or not key:
                inside = f" in {'.'.join(map(str, path[:-1]))}" if path[:-1] else ""
                yield self._problem(f"the key {quote(key)}{inside} is no text", "name it, or put quotes around it")
            elif isinstance(value, str) and "${" in value and not _has_whole_references(value):
                what = f"{'.'.join(map(str, path))}: {quote(value)} has a reference that does not end"
                yield self._problem(what, "write ${key}, with both braces")
        defaults = content.get("defaults")
        if defaults is not None and not (isinstance(defaults, list) and all(isinstance(d, str | dict) for d in defaults)):
            yield self._problem(f"defaults is {quote(defaults)}, not a list", "defaults: [override /model: vit_tiny, _self_]")
        has_groups = (
            self.group in SINGLE and "name" not in content and not content.keys().isdisjoint({*SINGLE, *MULTI, *SECTIONS})
        )
        if not self.is_global and (self.group in GLOBAL_GROUPS or has_groups):
            what = "lacks its first line, which says that its keys are those of a whole run"
            yield self._problem(what, "write: # @package _global_")

    def _problem(self, what: str, hint: str = "") -> Problem:
        return Problem(self.name, what, hint)

    def _error(self, what: str, hint: str = "") -> InputError:
        return InputError(self._problem(what, hint))


def _walk(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The path and the value of every key. Raises RecursionError if a mapping holds itself."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key), value
            yield from _walk(value, (*path, key))
    elif isinstance(node, list):
        for item in node:
            yield from _walk(item, path)


def _has_whole_references(text: str) -> bool:
    from omegaconf import OmegaConf
    from omegaconf.errors import GrammarParseError, OmegaConfBaseException

    try:
        OmegaConf.to_container(OmegaConf.create({"text": text}), resolve=True)
    except GrammarParseError:
        return False
    except OmegaConfBaseException:
        return True  # what it refers to is looked up later
    return True


def read_files(choices: Sequence[str], additions: Sequence[Path] = ()) -> list[ConfigFile]:
    """The files that Hydra composes for these options, and those that are added. Raises InputError with all problems."""
    folder = yaml_files.config_dir()
    chosen = {group: options.strip("[]").split(",") for group, _, options in (choice.partition("=") for choice in choices)}
    files = {folder / "train.yaml": ConfigFile(folder / "train.yaml")}
    selection, done = {"": ["train"]} | chosen, set()
    problems: list[Problem] = []
    while todo := [(group, option) for group, options in selection.items() for option in options if (group, option) not in done]:
        for group, option in todo:
            done.add((group, option))
            path = yaml_files.find_option(group, option) if group else folder / f"{option}.yaml"
            if not path.is_file():
                continue  # Hydra names it, and the nearest one
            files[path] = ConfigFile(path)
            try:
                selection |= {g: o for g, o in files[path].defaults() if g not in chosen}
            except InputError as error:
                problems += error.problems
    used = {
        yaml_files.find_option(group, option) if group else folder / f"{option}.yaml"
        for group, options in selection.items()
        for option in options
    }
    result = [file for path, file in files.items() if path in used] + [ConfigFile(path) for path in additions]
    for file in result[len(result) - len(additions) :]:
        try:
            _ = file.content
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return result


def find_open_values(files: Sequence[ConfigFile], keys: Sequence[str]) -> list[Problem]:
    """A problem for each key that a file leaves open (???) and none of the `keys` of the command line sets."""
    return [
        Problem(key, f"has no value: {file.name} leaves it open (???)", f"{key}=…")
        for file in files
        for key in file.open_keys()
        if not any(key == other or key.startswith(f"{other}.") for other in keys)
    ]
