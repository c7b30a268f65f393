"""Any labeled set of images, for a run that was trained on others: classes are matched by their names."""

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regulo.core.errors import InputError, Problem, nearest
from regulo.core.paths import expand_path
from regulo.core.text import join_first
from regulo.data.components.image_files import ImageLister
from regulo.data.components.labeled_table import list_labels
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
    """The images of class folders, or of a table, with labels among these classes. Raises InputError if there is none."""
    place = expand_path(path)
    if not place.exists():
        raise InputError(Problem(KEY, f"there is no {place}"))
    if place.is_dir():
        lister = ImageLister(place)
        names = lister.list_folders(place)
        files = {name: [place / name / file for file in lister.list_folder(place / name)] for name in names}
        return _match_classes(place, files, classes, lister.omissions.notes())
    try:
        paths, labels, notes = list_labels(place, place.parent)
    except InputError as refusal:
        raise InputError(*(dataclasses.replace(problem, key=KEY) for problem in refusal.problems)) from None
    files = {name: [] for name in labels}
    for file, name in zip(paths, labels, strict=True):
        files[name].append(place.parent / file)
    return _match_classes(place, files, classes, notes)


def _match_classes(
    place: Path, files: Mapping[str, Sequence[Path]], classes: Sequence[str], notes: Sequence[str]
) -> LabeledImages:
    """The files by class, with labels among the classes of the run. A name may be in another normal form of Unicode."""
    of_form = {unicodedata.normalize("NFC", name): name for name in classes}
    same_name = {name: name if name in classes else of_form.get(unicodedata.normalize("NFC", name), name) for name in files}
    files = {name: [file for other in files if same_name[other] == name for file in files[other]] for name in same_name.values()}
    if not set(files) & set(classes):
        raise InputError(Problem(KEY, f"{place} has no image of a class of the run", _hint(place, list(files), classes)))
    paths = [path for name in classes for path in files.get(name, ())]
    labels = np.repeat(np.arange(len(classes)), [len(files.get(name, ())) for name in classes]).astype(np.int64)
    if not paths:
        raise InputError(Problem(KEY, f"{place} has no image of a class of the run", "; ".join(notes)))
    notes = list(notes)
    if unknown := [name for name in files if name not in classes]:
        n = sum(len(files[name]) for name in unknown)
        notes.append(f"left out: {n:,} images of classes that the run does not have ({join_first(unknown)})")
    if absent := [name for name in classes if not files.get(name)]:
        notes.append(f"no image of {len(absent)} of the {len(classes)} classes ({join_first(absent)})")
    return LabeledImages(paths, labels, notes)


def _hint(root: Path, names: Sequence[str], classes: Sequence[str]) -> str:
    if splits := [name for name in names if split_of(name)]:
        return "name one split: " + " or ".join(str(root / name) for name in splits)
    near = nearest(names[0], classes) if names else ""
    return near if near.startswith("did") else f"the classes are {join_first(classes)}"
