"""Where decoded images are kept: files in the user's cache folder, or memory that all processes of this user can open."""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from regulo.core.files import PART, atomic_path, atomic_write, file_lock
from regulo.core.memory import available_memory
from regulo.core.paths import CACHE_VARIABLE, redact_home, user_cache_dir
from regulo.core.text import format_bytes
from regulo.data.base import CachePlace, data_error
from regulo.data.components.pixel_file import PixelFile

MEMORY_SHARE = 0.8
"""of the free memory, that images may take: the run needs some, too"""
KEY = "data.cache"


class CacheFolder(NamedTuple):
    """A folder with the pixel files of one place, or, for those in memory, with notes where they are."""

    path: Path
    in_memory: bool

    @classmethod
    def of(cls, place: CachePlace) -> "CacheFolder":
        """The folder of the current user. Raises InputError if there is none."""
        base = user_cache_dir()
        if base is None:
            raise data_error(KEY, "this user has no home, and so no cache folder", f"name one: {CACHE_VARIABLE}=FOLDER")
        if place == "disk":
            return cls(base / "images", False)
        if not hasattr(os, "memfd_create"):
            raise data_error(KEY, f"images are kept in memory on Linux only, and this is {sys.platform}", "data.cache=disk")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()  # machines may share a home
        return cls(base / "images" / f"memory-{boot}", True)

    def __str__(self) -> str:
        return "memory, until the run ends" if self.in_memory else redact_home(str(self.path))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Within: no other process writes to the folder, and what others have left behind is gone. Says that it waits."""
        with report_full_disk(self):
            file = self.path / ".lock"
            try:
                with file_lock(file, wait=False):
                    pass
            except BlockingIOError:
                print("waiting for another process, which decodes images for data.cache", file=sys.stderr)
            with file_lock(file):
                for part in self.path.glob(f"*{PART}"):
                    part.unlink()
                yield

    def check_room(self, num_bytes: int) -> None:
        """Raises InputError if files of this size do not fit."""
        if self.in_memory:
            available = available_memory()
            if available is not None and num_bytes > MEMORY_SHARE * available:
                what = f"the decoded images take {format_bytes(num_bytes)}, and {format_bytes(available)} of memory are free"
                raise data_error(KEY, what, "data.cache=disk, data.cache=off, or a smaller data.image_size")
        elif num_bytes > (free := shutil.disk_usage(self.path).free):
            what = f"the decoded images take {format_bytes(num_bytes)}, and {self} has room for {format_bytes(free)}"
            older = sum(file.stat().st_size for file in self.path.glob("*.pixels"))
            remove = f"remove older ones there ({format_bytes(older)}), " if older else ""
            raise data_error(KEY, what, f"{remove}name a folder on another disk ({CACHE_VARIABLE}=FOLDER), or data.cache=off")

    def find(self, name: str, count: int, channels: int) -> PixelFile | None:
        """The file of this name; None if there is none, or if it is not whole."""
        try:
            if not self.in_memory:
                return PixelFile(str(self.path / f"{name}.pixels"), count, channels)
            note = json.loads((self.path / f"{name}.json").read_text())
            if note["identity"] != file_identity(note["address"]):  # another process may have got the number of one that ended
                return None
            return PixelFile(note["address"], count, channels)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, name: str, count: int, channels: int, write: Callable[[int], None]) -> PixelFile:
        """The file of this name with what `write` writes to a descriptor. A file on disk is there completely, or not at all."""
        if not self.in_memory:
            path = self.path / f"{name}.pixels"
            with atomic_path(path) as part, part.open("xb") as file:
                write(file.fileno())
            return PixelFile(str(path), count, channels)
        descriptor = os.memfd_create(name)
        try:
            write(descriptor)
            pixels = PixelFile(f"/proc/self/fd/{descriptor}", count, channels)
        finally:
            os.close(descriptor)
        note = {"address": pixels.address, "identity": file_identity(pixels.address)}
        atomic_write(self.path / f"{name}.json", json.dumps(note))
        return pixels


def file_identity(path: str) -> list[int]:
    """Device and number of a file: no other file has them as long as this one exists."""
    status = os.stat(path)
    return [status.st_dev, status.st_ino]


@contextmanager
def report_full_disk(folder: CacheFolder) -> Iterator[None]:
    """Within: a folder that cannot be written to, and a full disk, are raised as InputError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full" if full else error.strerror or str(error)
        hint = f"name a folder on another disk ({CACHE_VARIABLE}=FOLDER), or data.cache=off"
        raise data_error(KEY, f"cannot keep decoded images in {redact_home(str(folder.path))}: {what}", hint) from error
