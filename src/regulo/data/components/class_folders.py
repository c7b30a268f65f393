"""The files of a data set in class folders: which there are, in which split, and a digest of them."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from regulo.core.errors import is_printable, nearest
from regulo.data.base import data_error
from regulo.data.components.image_files import ImageLister
from regulo.data.components.split_folders import check_class_folder, check_class_names, find_split_folders, split_of
from regulo.data.components.subsets import hash_split

Files = dict[str, list[str]]
"""for each class the paths of its images, relative to the root, sorted"""


def list_splits(root: Path, lister: ImageLister) -> dict[str, Files]:
    """The files of each split that has a folder, by class. Raises InputError."""
    folders = find_split_folders(root, lister)
    classes = class_names(folders["train"], lister)
    listing = {part: list_classes(root, folder, classes, lister) for part, folder in folders.items()}
    for part, files in listing.items():
        if not any(files.values()):
            hint = "; ".join(lister.omissions.notes()) or "one sub-folder per class, its images inside"
            raise data_error("data.root", f"there is no image below {folders[part]}", hint)
    return listing


def class_names(folder: Path, lister: ImageLister) -> list[str]:
    """Names of the class folders, sorted. Raises InputError if there are fewer than two, or if a name cannot be shown."""
    names = lister.list_folders(folder)
    if len(names) < 2:
        what = f"{folder} has {len(names)} class folders, and a classifier needs at least two"
        inner = folder / names[0] if names else None
        if inner and len(lister.list_folders(inner)) > 1:
            raise data_error("data.root", what, f"data.root={inner}?")
        raise data_error("data.root", what, "one sub-folder per class, its images inside")
    check_class_names(folder, names)
    for name in names:
        if not is_printable(name):
            raise data_error("data.root", f"the class folder {name!r} has no readable name", "rename it")
    return names


def list_classes(root: Path, folder: Path, classes: list[str], lister: ImageLister) -> Files:
    """The images below the class folders of a split. Raises InputError for a folder that is not in `classes`."""
    names = lister.list_folders(folder)
    unlabelled = lister.count_images(folder)
    predict = "images without labels can be predicted, from another folder: regulo predict RUN FOLDER"
    if not names and unlabelled:
        raise data_error("data.root", f"{folder} has {unlabelled:,} images and no class folders", f"move it away; {predict}")
    if unknown := [name for name in names if name not in classes]:
        what = f"{folder} has the class {unknown[0]!r}, which train does not have"
        near = nearest(unknown[0], classes)
        raise data_error("data.root", what, f"{near}; {predict}" if near else predict)
    prefix = folder.relative_to(root).as_posix().removeprefix(".")
    prefix = f"{prefix}/" if prefix else ""
    files = {name: lister.list_folder(folder / name) if name in names else [] for name in classes}
    for name, paths in files.items():
        check_class_folder(folder / name, paths)
    return {name: [f"{prefix}{name}/{path}" for path in paths] for name, paths in files.items()}


def check_class_sizes(train: Files, smallest: int) -> None:
    """Raise InputError that names the classes with fewer training images than `smallest`."""
    parts = {1: "to train", 2: "one to train and one that is held out", 3: "one each to train, validate and test"}[smallest]
    sizes = {name: len(paths) for name, paths in train.items() if len(paths) < smallest}
    if sizes:
        counts = [f"{name} {n}" for name, n in sizes.items()][:10] + ["…"] * (len(sizes) > 10)
        what = f"too few images for training: {', '.join(counts)}; each class needs at least {smallest} ({parts})"
        raise data_error("data.root", what, "add images, or move these class folders away")


def split_files(train: Files, fraction: float, seed: int) -> tuple[Files, Files]:
    """The files that stay in training, and those that are held out; by a hash of each path from the class folder on."""
    labels = np.repeat(np.arange(len(train)), [len(paths) for paths in train.values()])
    paths = [path for same_class in train.values() for path in same_class]
    keys = [path.partition("/")[2] if split_of(path.partition("/")[0]) == "train" else path for path in paths]
    classes = list(train)
    rest, subset = ({name: [] for name in classes}, {name: [] for name in classes})  # type: tuple[Files, Files]
    for part, indices in zip((rest, subset), hash_split(keys, labels, fraction, seed), strict=True):
        for i in indices:
            part[classes[labels[i]]].append(paths[i])
    return rest, subset


def list_paths(splits: Mapping[str, Files]) -> list[str]:
    """The paths of all images of all splits."""
    return [path for files in splits.values() for paths in files.values() for path in paths]


def flatten_files(root: Path, files: Files, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Paths (N,) bytes and labels (N,) int64."""
    paths = [os.fsencode(root / path) for name in classes for path in files.get(name, ())]
    labels = np.repeat(np.arange(len(classes)), [len(files.get(name, ())) for name in classes])
    return np.array(paths), labels.astype(np.int64)


def digest_files(root: Path, files: Files) -> str:
    """Of the classes, the paths and the sizes of files. Raises InputError if one is no longer there."""
    digest = hashlib.blake2b(digest_size=16)
    for name, paths in files.items():
        for path in paths:
            try:
                size = os.stat(root / path).st_size
            except OSError as error:
                what = f"cannot read {path!r}: {error.strerror}"
                raise data_error("data.root", what, "it was there when the files were listed: start again") from error
            line = f"{name}\0{path}\0{size}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
