"""Atomic writes and file locks."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from regulo.core.errors import InputError, Problem, RunError
from regulo.core.paths import expand_path

PART = ".part"
"""the end of the name of a file that is being written"""


def atomic_write(path: Path, text: str) -> None:
    """Write a file completely or not at all, by renaming a temporary file."""
    with atomic_open(path) as file:
        file.write(text)


@contextmanager
def atomic_open(path: Path) -> Iterator[TextIO]:
    """Context with a temporary file, which becomes `path` at the end if nothing was raised.

    It is in UTF-8. Bytes of a file name that are none become escapes, which JSON reads as what they were.
    """
    with atomic_path(path) as part, part.open("x", encoding="utf-8", errors="backslashreplace") as file:  # "x": follow no link
        yield file


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Context with the path of a temporary file to write, which becomes `path` at the end if nothing was raised."""
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)
    try:
        yield part
        sync(part)  # otherwise a power cut can leave an empty file in the place of the old one
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def new_file_path(name: str, key: str) -> Path:
    """The path of a file that a command will write. Raises InputError for `key` if it exists, or cannot be made."""
    path = expand_path(name)
    if path.exists() or path.is_symlink():
        raise InputError(Problem(key, f"{path} exists", "name another file, or remove it"))
    if not path.parent.is_dir():
        raise InputError(Problem(key, f"there is no folder {path.parent}", "make it first"))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(Problem(key, f"{path.parent} cannot be written to", "name a folder that can"))
    return path


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Context in which a full disk and the like are raised as RunError that names the file."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error


def sync(path: Path) -> None:
    """Return when the file and its name are on disk, where a power cut does not reach them."""
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def file_lock(file: Path, wait: bool = True) -> Iterator[None]:
    """Within: no other process holds the lock on `file`. With `wait=False`, raises BlockingIOError if another one holds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
