"""Files with the same content, in one split or in several, under one label or under two."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """Where an image of a data set is."""

    split: str
    image: int
    """its index in the split"""
    label: int


@dataclass(frozen=True)
class Copies:
    """Groups of images with the same content, each of two or more."""

    groups: Sequence[Sequence[Place]]

    def across_splits(self) -> list[Sequence[Place]]:
        """The groups whose images are in more than one split: the scores of these say nothing about new images."""
        return [group for group in self.groups if len({place.split for place in group}) > 1]

    def under_two_labels(self) -> list[Sequence[Place]]:
        """The groups whose images have more than one label: at least one label is wrong."""
        return [group for group in self.groups if len({place.label for place in group}) > 1]

    def count_leaks(self) -> int:
        """The images of val and test whose content is also in another split, each counted once (that of val, not of train)."""
        order = {"train": 0, "val": 1, "test": 2}
        return sum(
            sum(order[place.split] > min(order[p.split] for p in group) for place in group) for group in self.across_splits()
        )

    def notes(self) -> list[str]:
        """What is wrong with the data because of them, one line each, for people."""
        notes = []
        if leaks := self.count_leaks():
            what = f"{leaks:,} images of val and test have the content of an image in train or val"
            notes.append(f"{what}: their scores say nothing about new images; remove one of each")
        if conflicts := len(self.under_two_labels()):
            what = "1 picture is" if conflicts == 1 else f"{conflicts:,} pictures are"
            notes.append(f"{what} there under two classes: one of them is wrong")
        if notes:
            notes.append("regulo inspect lists these images")
        return notes


def find_copies(paths: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> Copies:
    """Compare the files (paths as bytes) of all splits. Only files with the size of another one are read.

    Files that cannot be read are left out.
    """
    by_size = defaultdict[int, list[tuple[bytes, Place]]](list)
    for split, files in paths.items():
        for index, raw in enumerate(files):
            try:
                size = os.stat(raw).st_size
            except OSError:  # reading it says why
                continue
            by_size[size].append((raw, Place(split, index, int(labels[split][index]))))
    same_size = [places for places in by_size.values() if len(places) > 1]
    return group_by_content((content, place) for places in same_size for raw, place in places if (content := _digest(raw)))


def group_by_content(images: Iterable[tuple[bytes, Place]]) -> Copies:
    """The copies among images with these contents, or digests of their contents."""
    by_content = defaultdict[bytes, list[Place]](list)
    for content, place in images:
        by_content[content].append(place)
    return Copies([group for group in by_content.values() if len(group) > 1])


def _digest(raw: bytes) -> bytes:
    """Of a file; empty if it cannot be read."""
    try:
        with open(raw, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
    except OSError:
        return b""
