"""What the check of image files has found, remembered until a file changes: the next start looks only into new files."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from regulo.core.errors import InputError
from regulo.core.files import atomic_write, file_lock
from regulo.core.paths import user_cache_dir
from regulo.core.safe_io import read_text
from regulo.data.components.image_io import decoder_versions

Depth = Literal["full", "header"]
"""how much of a file was read"""
VERSION = 1
"""of the format, and of what a report says"""
MIN_FILES = 100
"""from which on results are remembered; fewer files are read in a moment"""


class ImageReport(NamedTuple):
    """What the header of one file, or all of it, says."""

    error: str = ""
    deep: bool = False
    """more than 8 bits per channel"""
    low: int = 0
    high: int = 0
    """the range of a deep file that was decoded"""
    frames: int = 1
    is_long: bool = False
    has_damaged_exif: bool = False


class FileState(NamedTuple):
    """By what a change of a file is noticed."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, raw: bytes) -> "FileState":
        """The state of the file at this path now. Raises OSError."""
        status = os.stat(raw)
        return cls(status.st_size, status.st_mtime_ns)


class _Content(BaseModel):
    made_by: list[str]
    reports: dict[Depth, dict[str, tuple[FileState, ImageReport]]] = {}


class FileReports:
    """The reports on files below a folder, of this start and of earlier ones. Errors are not remembered."""

    def __init__(self, root: Path, channels: int) -> None:
        """A memory that cannot be read is empty."""
        made_by = [str(VERSION), *decoder_versions()]
        self._content, self._is_changed, self._file = _Content(made_by=made_by), False, _memory_file(root, channels)
        if self._file:
            with contextlib.suppress(InputError, ValidationError):
                content = _Content.model_validate_json(read_text(self._file), strict=True)
                if content.made_by == made_by:
                    self._content = content

    def find(self, raw: bytes, state: FileState, depth: Depth) -> ImageReport | None:
        """The report on a file in this state; None if it is new or has changed."""
        state_then, report = self._content.reports.get(depth, {}).get(_text(raw), (None, None))
        return report if state_then == state else None

    def add(self, raw: bytes, state: FileState, depth: Depth, report: ImageReport) -> None:
        """Remember the report on a file that was in this state before it was read."""
        if not report.error:
            self._content.reports.setdefault(depth, {})[_text(raw)] = state, report
            self._is_changed = True

    def save(self) -> None:
        """Keep the reports for the next start. Without a place for them, that start takes longer, and nothing else is lost."""
        if not self._is_changed or not self._file:
            return
        with contextlib.suppress(OSError), file_lock(self._file.with_suffix(".lock")):
            atomic_write(self._file, self._content.model_dump_json())


def _memory_file(root: Path, channels: int) -> Path | None:
    folder = user_cache_dir()
    name = hashlib.blake2b(f"{channels}\0{root.absolute()}".encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
    return folder / "verified" / f"{name}.json" if folder else None


def _text(raw: bytes) -> str:
    """A path as text that any JSON reader takes; it need not be UTF-8."""
    return raw.decode("latin-1")
