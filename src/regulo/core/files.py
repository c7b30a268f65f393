"""Atomic writes and file locks."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def atomic_write(path: Path, text: str) -> None:
    """Write a file completely or not at all, by renaming a temporary file."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    try:
        with part.open("x", encoding="utf-8") as file:  # "x": no link of this name is followed
            file.write(text)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextmanager
def file_lock(file: Path, wait: bool = True) -> Iterator[None]:
    """Within: no other process holds the lock on `file`. With `wait=False`, raises BlockingIOError if another one holds it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
