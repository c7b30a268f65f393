"""What is known of each image of a data set: size, format, and a perceptual hash. Files that cannot be read are among them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from regulo.analysis.report.thumbnails import ALL_LEVELS, make_thumbnail
from regulo.core.affinity import reader_threads
from regulo.core.resize import Resize, WholeBox
from regulo.data.base import DatasetConfig
from regulo.data.components.copies import Copies, Place, find_copies, group_by_content
from regulo.data.components.folds import take_fold
from regulo.data.components.image_check import describe_error
from regulo.data.components.image_io import ORIENTATION, has_deep_pixels, open_image, read_resized
from regulo.data.components.labeled_files import flatten_files

HASH_SIDE = 32
"""pixels of the gray image from which the hash is made, as `imagehash.phash` has it"""


@dataclass(frozen=True)
class ImageFacts:
    """What is known of one image."""

    place: Place
    name: str
    """its path relative to the root, or its number in the split"""
    height: int = 0
    width: int = 0
    """of the upright picture, in pixels"""
    kind: str = ""
    """format and mode, as Pillow calls them"""
    turned: bool = False
    """whether EXIF turns it"""
    hash: int = 0
    """64 bits"""
    error: str = ""
    """why it cannot be read"""


@dataclass(frozen=True)
class ImageSet:
    """All images of a data set."""

    source: str
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    facts: tuple[ImageFacts, ...]
    copies: Copies
    images: Mapping[str, Any]
    """by split: the paths (bytes), or the pixels (N, H, W, C) uint8"""

    def counts(self) -> dict[str, list[int]]:
        """The number of images of each class, by split."""
        labels: dict[str, list[int]] = {split: [] for split in self.images}
        for facts in self.facts:
            labels[facts.place.split].append(facts.place.label)
        return {split: np.bincount(values, minlength=len(self.classes)).tolist() for split, values in labels.items()}

    def thumbnail(self, place: Place) -> np.ndarray:
        """A small image (H, W, 3) uint8. A decoder may raise anything on a damaged file."""
        return make_thumbnail(self.images[place.split][place.image])


def read_images(config: DatasetConfig) -> ImageSet:
    """Look into all images of a data set. Raises InputError if there are none, or if a label is wrong."""
    listing = config.list_files()
    if listing is None:
        splits = take_fold(config, config.splits())
        images = {split: part.images for split, part in splits.items()}
        labels = {split: part.labels for split, part in splits.items()}
        facts = tuple(_look_at_pixels(images, labels))
        copies = group_by_content((images[place.split][place.image].tobytes(), place) for place in _places(labels))
        return ImageSet(config.name, splits.dataset_info.classes, splits.notes, facts, copies, images)
    classes = list(listing.files["train"])
    arrays = {split: flatten_files(listing.root, files, classes) for split, files in listing.files.items()}
    paths, labels = ({split: pair[i] for split, pair in arrays.items()} for i in (0, 1))
    facts = tuple(_look_into_files(paths, labels, os.fsencode(listing.root)))
    source = f"{config.name} in {listing.root}"
    return ImageSet(source, tuple(classes), listing.notes, facts, find_copies(paths, labels), paths)


def _places(labels: Mapping[str, np.ndarray]) -> Iterator[Place]:
    for split, values in labels.items():
        yield from (Place(split, i, int(label)) for i, label in enumerate(values))


def _look_into_files(paths: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], root: bytes) -> Iterator[ImageFacts]:
    def look(place: Place) -> ImageFacts:
        return look_into_file(place, paths[place.split][place.image], root)

    places = list(_places(labels))
    with ThreadPoolExecutor(reader_threads()) as pool:
        yield from _track(pool.map(look, places), len(places))


def look_into_file(place: Place, raw: bytes, root: bytes) -> ImageFacts:
    """Decode a file."""
    name = os.path.relpath(os.fsdecode(raw), os.fsdecode(root))
    try:
        with open_image(raw) as image:
            orientation = image.getexif().get(ORIENTATION, 1)
            width, height = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
            kind = f"{image.format}, {'more than 8 bits' if has_deep_pixels(image) else image.mode}"
        gray = read_resized(raw, 1, ALL_LEVELS, Resize(HASH_SIDE, HASH_SIDE, WholeBox()), Random())
    except Exception as error:  # a decoder may raise anything on a damaged file
        return ImageFacts(place, name, error=describe_error(raw, error).partition(": ")[2])
    return ImageFacts(place, name, height, width, kind, orientation in range(2, 9), hash_image(gray))


def _look_at_pixels(images: Mapping[str, Any], labels: Mapping[str, np.ndarray]) -> Iterator[ImageFacts]:
    def look(place: Place) -> ImageFacts:
        image = images[place.split][place.image]
        gray = Resize(HASH_SIDE, HASH_SIDE, WholeBox())(image.mean(axis=2, keepdims=True).astype(np.uint8), Random())
        kind = "in memory, " + ("gray" if image.shape[2] == 1 else "RGB")
        height, width = image.shape[:2]
        return ImageFacts(place, f"{place.split} {place.image}", height, width, kind, hash=hash_image(gray))

    yield from _track(map(look, _places(labels)), sum(map(len, labels.values())))


def hash_image(gray: np.ndarray) -> int:
    """The perceptual hash (64 bits) of a gray image (32, 32, 1) uint8: which of its lowest frequencies are above their median."""
    import imagehash
    from PIL import Image

    bits = imagehash.phash(Image.fromarray(gray[..., 0])).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _track(facts: Iterable[ImageFacts], total: int) -> Iterator[ImageFacts]:
    from rich.progress import track

    from regulo.core.console import CONSOLE

    yield from track(facts, "reading images", total=total, transient=True, disable=total < 500, console=CONSOLE)
