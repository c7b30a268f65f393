"""Files that somebody else may have written: plain data of bounded size, or a refusal that names the file; never code.

Nothing here trusts a name, either: `check_folder` refuses whatever could lead out of a folder that was sent to us.
"""

import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from regulo.core.errors import InputError, Problem

YAML_LIMIT = 1 << 20
"""bytes; the largest that Regulo writes has 6 KB"""
TEXT_LIMIT = 1 << 28
"""bytes of a JSON or CSV file; a million log points fit in"""


class PlainLoader(yaml.SafeLoader):
    """YAML without code and without aliases, by which a few lines unfold into gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: D102
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not followed", event.start_mark)
        return super().compose_node(parent, index)


def read_text(file: Path, limit: int = TEXT_LIMIT, key: str = "RUN") -> str:
    """The text of a regular file. Raises InputError for `key` if it is not one, is not UTF-8, or is too large."""
    try:
        number = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would be waited for
        with open(number, "rb") as opened:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise _broken(key, file, "it is not a regular file")
            raw = opened.read(limit + 1)
    except OSError as error:
        raise _broken(key, file, error.strerror or str(error)) from error
    if len(raw) > limit:
        raise _broken(key, file, f"it has more than {limit:,} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise _broken(key, file, str(error)) from error


def read_yaml(file: Path, key: str = "RUN") -> Any:
    """What a YAML file holds. Raises InputError."""
    return parse_yaml(read_text(file, YAML_LIMIT, key), lambda why: _broken(key, file, why))


def parse_yaml(text: str, refuse: Callable[[str], InputError]) -> Any:
    """Plain data from YAML. Raises what `refuse` makes of the reason."""
    try:
        return yaml.load(text, PlainLoader)
    except RecursionError:
        raise refuse("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:  # such as a 13th month
        raise refuse(str(error)) from error


def read_json(file: Path, key: str = "RUN") -> dict[str, Any]:
    """The object that a JSON file holds. Raises InputError."""
    try:
        content = json.loads(read_text(file, key=key))
    except RecursionError:
        raise _broken(key, file, "it is nested too deeply") from None
    except ValueError as error:
        raise _broken(key, file, str(error)) from error
    if not isinstance(content, dict):
        raise _broken(key, file, "it is not an object of names and values")
    return content


def check_folder(folder: Path, *below: str) -> None:
    """Refuse a folder in which something, at the top or in a folder `below`, leads out of it or is no file or folder."""
    inside = folder.resolve()
    for place in (folder, *(folder / name for name in below)):
        if place.is_symlink() and place != folder:
            continue  # told when its parent was looked through
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            if entry.is_symlink() and not entry.resolve().is_relative_to(inside):
                raise InputError(Problem("RUN", f"{entry} is a link that leads out of the folder", "remove it"))
            if not entry.is_symlink() and not (entry.is_dir() or entry.is_file()):
                raise InputError(Problem("RUN", f"{entry} is neither a file nor a folder", "remove it"))


def check_archive(file: Path) -> None:
    """Refuse a checkpoint that is no archive as torch writes it, stored and not compressed: it would unfold in memory."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, UnicodeDecodeError, OverflowError) as error:
        raise _not_whole(file, f"{error}") from error
    packed = [m for m in members if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size]
    if packed or sum(m.file_size for m in members) > file.stat().st_size:
        raise _not_whole(file, "it claims more bytes than it has")


def _not_whole(file: Path, why: str) -> InputError:
    return InputError(Problem("RUN", f"{file} is not a whole checkpoint of plain data: {why}"))


def _broken(key: str, file: Path, why: str) -> InputError:
    return InputError(Problem(key, f"{file} cannot be read: {' '.join(why.split())[:300]}"))
