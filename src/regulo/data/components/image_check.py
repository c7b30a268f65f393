"""Checks the image files of a data set before training, and measures the range of those with more than 8 bits."""

import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from regulo.core.affinity import reader_threads
from regulo.core.errors import InputError, Problem
from regulo.data.components import file_reports
from regulo.data.components.file_reports import FileReports, FileState, ImageReport
from regulo.data.components.image_io import (
    MAX_ASPECT,
    PixelRange,
    has_deep_pixels,
    open_image,
    read_deep_pixels,
    read_image,
)
from regulo.data.components.subsets import fixed_subset

MAX_MEASURED_FILES = 500
"""training files whose range is measured if not every file is decoded"""


@dataclass
class ImageCheck:
    """What is special about the files of a data set."""

    deep: int = 0
    frames: int = 0
    long: int = 0
    damaged_exif: int = 0
    files: int = 0
    pixel_range: PixelRange | None = None
    """of the training files with more than 8 bits per channel; None if there are none"""

    def notes(self, pixel_range: PixelRange | None) -> list[str]:
        """What is converted or left out inside the files, one line each, for people."""
        notes = []
        if self.deep and pixel_range:
            low, high = pixel_range
            levels = high - low + 1
            what = f"{self.deep:,} of {self.files:,} files have more than 8 bits: {low:,} to {high:,} become 0 to 255"
            notes.append(f"{what} ({levels:,} levels become {min(levels, 256)}); another range: data.pixel_range=[LOW,HIGH]")
        if self.frames:
            notes.append(f"{self.frames:,} files with several frames or pages: the first of each is used")
        if self.long:
            notes.append(f"{self.long:,} files with an image more than {MAX_ASPECT} times as long as wide: its middle is used")
        if self.damaged_exif:
            notes.append(f"{self.damaged_exif:,} files with damaged EXIF data: they are not turned upright")
        return notes


def check_images(
    paths: Mapping[str, np.ndarray], channels: int, verify: Literal["full", "header", "none"], root: Path
) -> ImageCheck:
    """Look into the files (bytes) of each split, all of them or, with "none", some of train. Raises InputError with all errors.

    Only training files are measured: what is known of the others must not change what the network sees. All files are below
    `root`. A file that has not changed since an earlier check is not read again.
    """
    reports = FileReports(root, channels) if sum(map(len, paths.values())) >= file_reports.MIN_FILES else None
    try:
        return _check(paths, channels, verify, reports)
    finally:
        if reports:
            reports.save()


def _check(
    paths: Mapping[str, np.ndarray], channels: int, verify: Literal["full", "header", "none"], memory: FileReports | None
) -> ImageCheck:
    chosen = paths if verify != "none" else {"train": _some(paths["train"])}
    check, problems, ranges = ImageCheck(files=sum(map(len, chosen.values()))), [], []
    with collect_exif_warnings():
        for part, files in chosen.items():
            for raw, report in zip(files, _inspect(part, files, channels, verify == "full", memory), strict=True):
                if report.error and verify != "none":
                    problems.append(Problem("data.root", report.error, "repair or remove it"))
                check.deep += report.deep
                check.frames += report.frames > 1
                check.long += report.is_long
                check.damaged_exif += report.has_damaged_exif
                if report.deep and part == "train":
                    ranges.append((report.low, report.high) if verify == "full" else raw)
    if problems:
        raise InputError.of_many(problems)
    if ranges and verify != "full":
        reports = _inspect("train", _some(np.array(ranges)), channels, True, memory)
        ranges = [(report.low, report.high) for report in reports if not report.error]
    if ranges:
        check.pixel_range = min(low for low, _ in ranges), max(high for _, high in ranges)
    return check


def _inspect(part: str, files: np.ndarray, channels: int, decode: bool, memory: FileReports | None) -> Iterator[ImageReport]:
    """The reports on files in order, made by several threads, with a progress bar if there are many."""
    from rich.progress import track

    def inspect(raw: bytes) -> ImageReport:
        return inspect_once(raw, channels, decode, memory) if memory else inspect_image(raw, channels, decode)

    with ThreadPoolExecutor(reader_threads()) as pool:
        reports: Iterable[ImageReport] = pool.map(inspect, files)
        yield from track(reports, f"checking {part} images", total=len(files), transient=True, disable=len(files) < 500)


def inspect_once(raw: bytes, channels: int, decode: bool, memory: FileReports) -> ImageReport:
    """Read the header of a file, or decode it, if it has changed since it was done before."""
    try:
        state = FileState.of(raw)
    except OSError as error:
        return ImageReport(error=describe_error(raw, error))
    depth: Literal["full", "header"] = "full" if decode else "header"
    report = memory.find(raw, state, depth)
    if report is None:
        report = inspect_image(raw, channels, decode)
        memory.add(raw, state, depth, report)
    return report


def inspect_image(raw: bytes, channels: int, decode: bool) -> ImageReport:
    """Read the header of a file, or decode it."""
    _CURRENT.has_damaged_exif = False
    try:
        with open_image(raw) as image:
            deep, frames = has_deep_pixels(image), getattr(image, "n_frames", 1) if image.format in FORMATS_WITH_PAGES else 1
            is_long = max(image.size) > MAX_ASPECT * min(image.size)
            low, high = 0, 0
            if decode and deep:
                pixels = read_deep_pixels(image, raw)
                colors = pixels[..., :3] if pixels.ndim == 3 else pixels  # an alpha channel has its own range
                low, high = int(colors.min()), int(colors.max())
        if decode:
            read_image(raw, channels, (low, high) if deep else None)
    except Exception as error:  # a decoder may raise anything on a damaged file
        return ImageReport(error=describe_error(raw, error))
    return ImageReport("", deep, low, high, frames, is_long, _CURRENT.has_damaged_exif)


_CURRENT = threading.local()
"""its `has_damaged_exif`: of the file that a thread looks into"""


@contextmanager
def collect_exif_warnings() -> Iterator[None]:
    """Within: Pillow's warnings are not shown; those about EXIF data get into the report on the file."""

    def collect(message: Warning | str, *_: Any) -> None:
        if "EXIF" in str(message) or "Tag data" in str(message):
            _CURRENT.has_damaged_exif = True

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = collect  # type: ignore[assignment]
        yield


FORMATS_WITH_PAGES = ("TIFF", "GIF", "WEBP", "PNG", "AVIF", "HEIF")
"""formats whose further frames are other pictures; those of a JPEG are smaller copies of the first"""


def describe_error(raw: bytes, error: Exception) -> str:
    """Which file cannot be read, and why: one line, even if the file name has a line break."""
    path = os.fsdecode(raw)
    reason = getattr(error, "strerror", None) or str(error).removesuffix(f" {path!r}") or type(error).__name__
    return f"cannot read {path!r}: {' '.join(str(reason).split())}"


def _some(files: np.ndarray) -> np.ndarray:
    """The files, or `MAX_MEASURED_FILES` of them, always the same ones."""
    return files[fixed_subset(len(files), MAX_MEASURED_FILES)]
