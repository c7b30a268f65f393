"""Files with labels, by split and class: what is held out, what is a fold, and a digest of them."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from regulo.core.errors import visible_form
from regulo.core.text import join_first
from regulo.data.base import data_error
from regulo.data.components.folds import assign_folds
from regulo.data.components.groups import group_split
from regulo.data.components.split_folders import split_of
from regulo.data.components.subsets import hash_keys, hash_split

Files = dict[str, list[str]]
"""for each class the paths of its images, relative to the root, sorted"""


@dataclass(frozen=True)
class LabeledFiles:
    """The files of a data set as its owner has divided them."""

    root: Path
    splits: dict[str, Files]
    """"train", and "val" and "test" if there are any"""
    notes: Sequence[str] = ()
    """what was left out, one line each, for people"""
    groups: Mapping[str, str] = field(default_factory=dict)
    """the group of each path; empty: every image is a group of its own"""


def check_class_sizes(train: Files, smallest: int, key: str) -> None:
    """Raise InputError for `key` that names the classes with fewer training images than `smallest`."""
    parts = {1: "to train", 2: "one to train and one that is held out", 3: "one each to train, validate and test"}[smallest]
    sizes = {name: len(paths) for name, paths in train.items() if len(paths) < smallest}
    if sizes:
        counts = join_first([f"{name} {n}" for name, n in sizes.items()])
        what = f"too few images for training: {counts}; each class needs at least {smallest} ({parts})"
        raise data_error(key, what, "add images, or leave these classes out")


def split_files(train: Files, fractions: Sequence[float], seed: int, groups: Mapping[str, str]) -> list[Files]:
    """The files that stay in training, and those of each held-out part; by a hash of each group, or of each path.

    Each part is this fraction of the files that the parts before it have left.
    """
    paths, labels = _flatten(train)
    hashes = np.empty(0, np.uint64) if groups else hash_keys(_hash_keys(paths), str(seed))
    left, parts = np.arange(len(paths)), []
    for fraction in fractions:
        if groups:
            rest, subset = group_split([groups[paths[i]] for i in left], labels[left], fraction, str(seed))
        else:
            rest, subset = hash_split(hashes[left], labels[left], fraction)
        parts.append(left[subset])
        left = left[rest]
    return [_select(train, paths, labels, indices) for indices in (left, *parts)]


def take_fold_files(pool: Files, folds: int, fold: int, seed: int, groups: Mapping[str, str]) -> tuple[Files, Files]:
    """The files of the other folds, and those of the fold."""
    paths, labels = _flatten(pool)
    in_groups = [groups[path] for path in paths] if groups else None
    in_fold = assign_folds(_hash_keys(paths), labels, folds, seed, in_groups) == fold
    rest, test = np.flatnonzero(~in_fold), np.flatnonzero(in_fold)
    return _select(pool, paths, labels, rest), _select(pool, paths, labels, test)


def _hash_keys(paths: Sequence[str]) -> list[str]:
    """What is hashed of each path: it without the folder of the training images."""
    parts = (path.partition("/") for path in paths)
    return [rest if split_of(folder) == "train" else path for path, (folder, _, rest) in zip(paths, parts, strict=True)]


def _flatten(files: Files) -> tuple[list[str], np.ndarray]:
    """The paths, and the index of the class of each."""
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
    return [path for same_class in files.values() for path in same_class], labels


def _select(files: Files, paths: Sequence[str], labels: np.ndarray, indices: np.ndarray) -> Files:
    """The paths at these indices, by class. Indices and labels are in increasing order."""
    selection = [paths[i] for i in indices.tolist()]
    ends = np.bincount(labels[indices], minlength=len(files)).cumsum().tolist()
    return {name: selection[start:end] for name, start, end in zip(files, [0, *ends], ends, strict=False)}


def check_groups(splits: Mapping[str, Files], groups: Mapping[str, str], key: str) -> None:
    """Raise InputError for `key` if whole groups do not give each split images, or training images of each class."""
    if missing := [name for name, paths in splits["train"].items() if not paths]:
        what = f"no group with images of {', '.join(missing[:10])} is left to train on"
        raise data_error(key, what, "these classes need images of more groups")
    for part, files in splits.items():
        if not any(files.values()):
            n = len({groups[path] for path in list_paths(splits)})
            raise data_error(
                key, f"the images are of {n:,} group{'s' * (n != 1)}, and none is left for {part}", "more groups are needed"
            )


def describe_groups(splits: Mapping[str, Files], parts: Sequence[str], groups: Mapping[str, str]) -> list[str]:
    """Notes about the groups: what share of the images and of each class the parts have, and which groups are in two splits."""
    notes = []
    totals = {name: sum(len(files[name]) for files in splits.values()) for name in splits["train"]}
    for part in parts:
        sizes = {name: len(paths) for name, paths in splits[part].items()}
        shares = [sizes[name] / total for name, total in totals.items()]
        share = sum(sizes.values()) / sum(totals.values())
        notes.append(f"by group: {part} has {share:.0%} of the images, and of the classes {min(shares):.0%} to {max(shares):.0%}")
    splits_of: dict[str, set[str]] = {}
    for part, files in splits.items():
        for path in list_paths({part: files}):
            splits_of.setdefault(groups[path], set()).add(part)
    if leaks := [group for group, parts_of_group in splits_of.items() if len(parts_of_group) > 1]:
        what = f"{len(leaks):,} of {len(splits_of):,} groups are in two splits, such as {leaks[0]!r}"
        notes.append(f"{what}: their scores say little about new groups; move each into one split")
    return notes


def describe_similar_classes(classes: Iterable[str]) -> list[str]:
    """Notes about classes whose names a person may take for one: they differ only in case, or look the same."""
    spellings = defaultdict[str, list[str]](list)
    for name in classes:
        spellings[visible_form(name).casefold()].append(name)
    notes = []
    for names in spellings.values():
        if len({visible_form(name) for name in names}) < len(names):
            notes.append(f"classes that look the same, and are not: {', '.join(map(ascii, names))}")
        elif len(names) > 1:
            notes.append(f"classes that differ only in case: {', '.join(names)}")
    return notes


def list_paths(splits: Mapping[str, Files]) -> list[str]:
    """The paths of all images of all splits."""
    return [path for files in splits.values() for paths in files.values() for path in paths]


def flatten_files(root: Path, files: Files, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Paths (N,) bytes and labels (N,) int64. There may be millions: no object is kept for each."""
    folder = os.fspath(root)  # as text: to join a Path takes longer than to look for the file
    sizes = [len(files.get(name, ())) for name in classes]
    labels = np.repeat(np.arange(len(classes)), sizes).astype(np.int64)
    in_classes = [np.array([os.fsencode(f"{folder}/{path}") for path in files.get(name, ())], np.bytes_) for name in classes]
    return np.concatenate(in_classes), labels


def digest_files(root: Path, files: Files) -> str:
    """Of the classes, the paths and the sizes of files. Raises InputError if one is no longer there."""
    digest, folder = hashlib.blake2b(digest_size=16), os.fspath(root)
    for name, paths in files.items():
        try:
            lines = [f"{name}\0{path}\0{os.stat(f'{folder}/{path}').st_size}\n" for path in paths]
        except OSError as error:
            what = f"cannot read {os.path.relpath(error.filename, folder)!r}: {error.strerror}"
            raise data_error("data.root", what, "it was there when the files were listed: start again") from error
        digest.update("".join(lines).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
