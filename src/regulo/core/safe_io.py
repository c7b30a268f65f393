"""Readers for files that someone else may have written: plain data of limited size, never code. Refusals name the file.

File names are not trusted either: `check_folder` refuses links that lead out of a folder.
"""

import json
import os
import re
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from regulo.core.errors import InputError, Problem, one_line

YAML_LIMIT = 1 << 20
"""bytes of a YAML file; the largest that Regulo writes has 6 KB"""
TEXT_LIMIT = 1 << 28
"""bytes of a JSON or CSV file; enough for a million log points"""


MAX_NESTING = 100
"""levels of a YAML file whose values are listed; the parser in C takes minutes for 100,000"""
EVENT_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""reads the events of a YAML file; the one in C never builds nested values here, for which it would need an unlimited stack"""

EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
"""a number such as 1e-1, as Hydra reads it: YAML 1.1 wants a point and a sign, and takes others for text"""


class PlainLoader(yaml.SafeLoader):
    """YAML without code, and without aliases, with which a few lines can expand to gigabytes. Numbers are those of Hydra."""

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: D102
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not followed", event.start_mark)
        return super().compose_node(parent, index)


class PlainDumper(yaml.SafeDumper):
    """Writes what `PlainLoader` and Hydra read back: text that looks like a number is quoted."""


for tool in (PlainLoader, PlainDumper):
    tool.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("-+0123456789"))
for resolvers in PlainLoader.yaml_implicit_resolvers.values():  # a date is text
    resolvers[:] = [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]


def dump_yaml(content: Any) -> str:
    """Plain data as YAML text, with the keys in their order."""
    return yaml.dump(content, Dumper=PlainDumper, sort_keys=False, allow_unicode=True)


def read_text(file: Path, limit: int = TEXT_LIMIT, key: str = "RUN") -> str:
    """The text of a regular file. Raises InputError for `key` if it is not one, is not UTF-8, or is too large."""
    try:
        return read_bytes(file, limit, key).decode()
    except UnicodeDecodeError as error:
        raise _unreadable_error(key, file, str(error)) from error


def read_bytes(file: Path, limit: int, key: str = "RUN") -> bytes:
    """The content of a regular file. Raises InputError for `key` if it is not one, or if it has more than `limit` bytes."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # without it, opening a pipe waits
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _unreadable_error(key, file, "it is not a regular file")
            raw = stream.read(limit + 1)
    except OSError as error:
        raise _unreadable_error(key, file, error.strerror or str(error)) from error
    if len(raw) > limit:
        raise _unreadable_error(key, file, f"it has more than {limit:,} bytes")
    return raw


def read_yaml(file: Path, key: str = "RUN") -> Any:
    """The content of a YAML file. Raises InputError."""
    return parse_yaml(read_text(file, YAML_LIMIT, key), lambda why: _unreadable_error(key, file, why))


def parse_yaml(text: str, refuse: Callable[[str], InputError]) -> Any:
    """Plain data from YAML text. Raises the error that `refuse` makes from the reason."""
    try:
        return yaml.load(text, PlainLoader)
    except RecursionError:
        raise refuse("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:  # such as a 13th month
        raise refuse(str(error)) from error


def read_yaml_values(file: Path, limit: int = YAML_LIMIT) -> dict[str, str]:
    """The values of a YAML file on its first two levels as text, by dotted key, such as `data.name`. Raises InputError.

    A key whose value is a mapping or a list has an empty text. This is 20 times as fast as `read_yaml`: nothing deeper is built.
    """
    values: dict[str, str] = {}
    path: list[str | None] = []  # of each open mapping the key whose value comes next, or None: a key comes next; of a list: ""
    try:
        for event in yaml.parse(read_text(file, limit), Loader=EVENT_LOADER):
            if isinstance(event, yaml.CollectionEndEvent):
                path.pop()
            elif not isinstance(event, yaml.NodeEvent):
                continue  # the start and the end of the text
            elif path and path[-1] is None:
                if not isinstance(event, yaml.ScalarEvent):
                    raise _unreadable_error("RUN", file, "a key is no text")
                path[-1] = event.value
                continue
            else:
                if 1 <= len(path) <= 2 and all(path):
                    values[".".join(map(str, path))] = str(getattr(event, "value", ""))
                if isinstance(event, yaml.CollectionStartEvent):
                    path.append(None if isinstance(event, yaml.MappingStartEvent) else "")
                    if len(path) > MAX_NESTING:
                        raise _unreadable_error("RUN", file, "it is nested too deeply")
                    continue
            if path and path[-1]:
                path[-1] = None
    except yaml.YAMLError as error:
        raise _unreadable_error("RUN", file, str(error)) from error
    return values


def read_json(file: Path, key: str = "RUN", limit: int = TEXT_LIMIT) -> dict[str, Any]:
    """The object in a JSON file. Raises InputError."""
    try:
        content = json.loads(read_text(file, limit, key))
    except RecursionError:
        raise _unreadable_error(key, file, "it is nested too deeply") from None
    except ValueError as error:
        raise _unreadable_error(key, file, str(error)) from error
    if not isinstance(content, dict):
        raise _unreadable_error(key, file, "it is not an object of names and values")
    return content


def read_cache(file: Path) -> dict[str, Any]:
    """The object in a JSON file whose content can be made again: empty if there is none, or if it cannot be read."""
    try:
        return read_json(file) if file.is_file() else {}
    except InputError as error:
        print(one_line(f"{error.problems[0].what}; it is made again"))
        return {}


def check_folder(folder: Path, *below: str) -> None:
    """Check that every entry of a folder, and of its folders `below`, is a file or folder inside it. Raises InputError."""
    inside = folder.resolve()
    for place in (folder, *(folder / name for name in below)):
        if place.is_symlink() and place != folder:
            continue  # already reported as an entry of its parent
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            if entry.is_symlink() and not entry.resolve().is_relative_to(inside):
                raise InputError(Problem("RUN", f"{entry} is a link that leads out of the folder", "remove it"))
            if not entry.is_symlink() and not (entry.is_dir() or entry.is_file()):
                raise InputError(Problem("RUN", f"{entry} is neither a file nor a folder", "remove it"))


def check_archive(file: Path) -> None:
    """Refuse a checkpoint that is not an uncompressed zip archive, as torch writes it: others can expand in memory."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, UnicodeDecodeError, OverflowError) as error:
        raise _torn_checkpoint_error(file, f"{error}") from error
    compressed_members = [m for m in members if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size]
    if compressed_members or sum(m.file_size for m in members) > file.stat().st_size:
        raise _torn_checkpoint_error(file, "it claims more bytes than it has")


def _torn_checkpoint_error(file: Path, why: str) -> InputError:
    return InputError(Problem("RUN", f"{file} is not a whole checkpoint of plain data: {why}"))


def _unreadable_error(key: str, file: Path, why: str) -> InputError:
    return InputError(Problem(key, f"{file} cannot be read: {' '.join(why.split())[:300]}"))
