"""Decodes the images of files once, and keeps them for later epochs and runs.

Images that are always resized in the same way are kept after that: scores are the same, bit for bit. Those from which each epoch
cuts another box are kept whole, and reduced if they are large.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import numpy as np
import torch

from regulo.core.resize import Box, Interpolation, Resize, resize_image
from regulo.core.text import format_bytes
from regulo.core.types import Split
from regulo.data.base import CachePlace
from regulo.data.components.cache_folder import CacheFolder
from regulo.data.components.dataset import BatchedImages
from regulo.data.components.file_images import FileImages, report_unreadable
from regulo.data.components.file_reports import FileState
from regulo.data.components.image_io import decoder_versions
from regulo.data.components.pixel_file import FIELDS, PixelFile, Size, write_pixels

VERSION = 1
"""of what is kept; another version does not use it"""
OVERSAMPLING = 3
"""pixels on the shorter side of a whole image that is kept, for each pixel of the result"""
READ_ONCE = "test"
"""the split that a run reads only once: in memory, which ends with the run, it would be kept for nothing"""


@dataclass(frozen=True)
class Reduction:
    """How an image is kept whole: resized such that its shorter side has at most `side` pixels."""

    side: int
    interpolation: Interpolation

    def size(self, height: int, width: int) -> Size:
        """What an image of this size becomes."""
        scale = min(1.0, self.side / min(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """An image (H, W, C) uint8, reduced."""
        return resize_image(image, *self.size(*image.shape[:2]), self.interpolation)


class CachedImages(FileImages):
    """Images of files whose pixels are kept, by one rule. What the rule does not give is read from the file."""

    def __init__(self, files: FileImages, rule: Resize | Reduction, pixels: PixelFile) -> None:
        super().__init__(files.paths, files.channels, files.pixel_range)
        self.rule, self.pixels = rule, pixels

    def read(self, index: int, resize: Resize, random: Random) -> np.ndarray:
        """See `FileImages`. From a reduced image the box is cut that would be cut from the original, in whole pixels."""
        if isinstance(self.rule, Reduction):
            original, pixels = self.pixels.original_size(index), self.pixels[index]
            box = scale_box(resize.box(original, random), original, pixels.shape[:2])
            return np.require(resize.resize(pixels, box), requirements="W")
        return self.pixels[index].copy() if resize == self.rule else super().read(index, resize, random)


def scale_box(box: Box, original: Size, size: Size) -> Box:
    """A box of an image, in a copy of another size: to the nearest whole pixels, at least one."""
    top, bottom = (round(edge * size[0] / original[0]) for edge in (box.top, box.top + box.height))
    left, right = (round(edge * size[1] / original[1]) for edge in (box.left, box.left + box.width))
    top, left = min(top, size[0] - 1), min(left, size[1] - 1)
    return Box(top, left, max(1, bottom - top), max(1, right - left))


class Entry(NamedTuple):
    """The images of one split, and the rule by which they are kept."""

    part: str
    files: FileImages
    rule: Resize | Reduction
    name: str

    @classmethod
    def of(cls, part: str, files: FileImages, rule: Resize | Reduction) -> "Entry":
        """Its name changes with everything that changes the pixels. Raises UnreadableImageError for a file that is not there."""
        digest = hashlib.blake2b(digest_size=16)
        made_by = (VERSION, *decoder_versions(), torch.__version__)
        digest.update(repr((made_by, files.channels, files.pixel_range, rule)).encode())
        for raw in files.paths:
            with report_unreadable(raw):
                state = FileState.of(raw)
            digest.update(b"\0%s\0%d\0%d" % (os.path.abspath(raw), *state))
        return cls(part, files, rule, digest.hexdigest())

    def find(self, folder: CacheFolder) -> PixelFile | None:
        """Its pixels, if they are there."""
        return folder.find(self.name, len(self.files), self.files.channels)

    def num_bytes(self) -> int:
        """What its pixels will take; only headers are read. Raises UnreadableImageError."""
        if isinstance(self.rule, Reduction):
            sizes = [self.rule.size(*self.files.stored_size(i)) for i in range(len(self.files))]
        else:
            sizes = [(self.rule.height, self.rule.width)] * len(self.files)
        return len(sizes) * FIELDS * 8 + sum(height * width for height, width in sizes) * self.files.channels

    def write(self, folder: CacheFolder) -> PixelFile:
        """Decode all images."""
        count, channels = len(self.files), self.files.channels
        return folder.write(
            self.name, count, channels, lambda file: write_pixels(file, count, self._decode, f"{self.part} images")
        )

    def _decode(self, index: int) -> tuple[np.ndarray, Size]:
        if isinstance(self.rule, Resize):
            return self.files.read(index, self.rule, Random()), (self.rule.height, self.rule.width)
        image = self.files.read_whole(index)
        return self.rule(image), image.shape[:2]


def cache_images(datasets: Mapping[str, BatchedImages], evaluation: Resize | None, place: CachePlace) -> str:
    """Let the datasets read their images from the cache, which is filled before. `evaluation`: the rule without random numbers.

    Returns what is kept and where, for people. Raises InputError if there is no room, and UnreadableImageError.
    """
    entries = []
    for part, dataset in datasets.items():
        files, resize = dataset.split.images, dataset.resize
        if isinstance(files, FileImages) and resize and not (place == "ram" and part == READ_ONCE):
            reduction = Reduction(OVERSAMPLING * max(resize.height, resize.width), resize.interpolation)
            entries.append(Entry.of(part, files, resize if resize == evaluation else reduction))
    folder = CacheFolder.of(place)
    names = {entry.name: entry for entry in entries}  # train and train_clean may be the same images
    pixels = _find(folder, entries)
    if len(pixels) < len(names):
        with folder.lock():
            pixels = _find(folder, entries)  # another process may have been faster
            missing = [entry for name, entry in names.items() if name not in pixels]
            folder.check_room(sum(entry.num_bytes() for entry in missing))
            pixels |= {entry.name: entry.write(folder) for entry in missing}
    for entry in entries:
        dataset = datasets[entry.part]
        dataset.split = Split(CachedImages(entry.files, entry.rule, pixels[entry.name]), dataset.split.labels)
    return _describe(folder, entries, sum(file.num_bytes for file in pixels.values()))


def _find(folder: CacheFolder, entries: list[Entry]) -> dict[str, PixelFile]:
    """The pixels that are there, by name."""
    return {entry.name: file for entry in entries if (file := entry.find(folder)) is not None}


def _describe(folder: CacheFolder, entries: list[Entry], num_bytes: int) -> str:
    names = ", ".join(entry.part for entry in entries)
    line = f"cache: {format_bytes(num_bytes)} of decoded images ({names}) in {folder}"
    reductions = [entry.rule.side for entry in entries if isinstance(entry.rule, Reduction)]
    cut = f"; random boxes are cut from copies whose shorter side has at most {reductions[0]} pixels" if reductions else ""
    return line + cut
