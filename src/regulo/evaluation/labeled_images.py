"""Any labeled set of images, for a run that was trained on others: classes are matched by their names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulo.core.errors import InputError, Problem, nearest
from regulo.core.paths import expand_path
from regulo.data.components.image_files import ImageLister
from regulo.data.components.split_folders import split_of

KEY = "--data"


@dataclass(frozen=True)
class LabeledImages:
    """Image files with labels that a run knows."""

    paths: list[Path]
    labels: np.ndarray  # (n,) int64, places in the classes of the run
    notes: list[str]
    """what was left out, and which classes have no image, one line each, for people"""


def list_labeled_images(path: str, classes: Sequence[str]) -> LabeledImages:
    """The images at a path, with labels among these classes. Raises InputError if there is none."""
    place = expand_path(path)
    if not place.exists():
        raise InputError(Problem(KEY, f"there is no {place}"))
    if not place.is_dir():
        raise InputError(Problem(KEY, f"{place} is no folder", "a folder with one sub-folder per class"))
    return _list_class_folders(place, classes)


def _list_class_folders(root: Path, classes: Sequence[str]) -> LabeledImages:
    lister = ImageLister(root)
    names = lister.list_folders(root)
    if not set(names) & set(classes):
        raise InputError(Problem(KEY, f"{root} has no folder with the name of a class of the run", _hint(root, names, classes)))
    files = {name: [root / name / file for file in lister.list_folder(root / name)] for name in names}
    paths = [path for name in classes for path in files.get(name, ())]
    labels = np.repeat(np.arange(len(classes)), [len(files.get(name, ())) for name in classes]).astype(np.int64)
    if not paths:
        raise InputError(Problem(KEY, f"{root} has no image of a class of the run", "; ".join(lister.omissions.notes())))
    notes = lister.omissions.notes()
    if unknown := [name for name in names if name not in classes]:
        n = sum(len(files[name]) for name in unknown)
        notes.append(f"left out: {n:,} images of classes that the run does not have ({_enumerate(unknown)})")
    if absent := [name for name in classes if not files.get(name)]:
        notes.append(f"no image of {len(absent)} of the {len(classes)} classes ({_enumerate(absent)})")
    return LabeledImages(paths, labels, notes)


def _hint(root: Path, names: Sequence[str], classes: Sequence[str]) -> str:
    if splits := [name for name in names if split_of(name)]:
        return "name one split: " + " or ".join(str(root / name) for name in splits)
    near = nearest(names[0], classes) if names else ""
    return near if near.startswith("did") else f"the classes are {_enumerate(classes)}"


def _enumerate(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
