"""Which folders of a data set are its splits: `train/`, `Testing/`, `validation_set/`, in any case and with usual endings."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

from regulo.core.errors import InputError, Problem
from regulo.data.components.image_files import ImageLister

STEMS = {
    "train": "train|training|trn",
    "val": "val|valid|validate|validation|dev|development",
    "test": "test|testing|tst",
    "": "eval|evaluation|holdout|unlabelled|unlabeled",  # either of two splits, or none
}
SPLIT_NAME = re.compile(
    "|".join(f"(?P<{name or 'unclear'}>{stems})" for name, stems in STEMS.items()).join(
        ("(?:", r")(?:[ _.-]?(?:set|data|dataset|split|dir|folder|images?|imgs?|pics|photos))?(?:[ _.-]?\d+)?")
    ),
    re.IGNORECASE,
)


@functools.cache
def split_of(folder_name: str) -> str | None:
    """The split that a folder name stands for: "train", "val" or "test"; "unclear" for `eval`; None for any other name."""
    match = SPLIT_NAME.fullmatch(folder_name)
    return match.lastgroup if match else None


def find_split_folders(root: Path, lister: ImageLister) -> dict[str, Path]:
    """The folder of each split; {"train": root} if the class folders lie in `root` itself.

    Raises InputError if a folder is unclear: two of one split, one that is no split beside splits, a split beside classes.
    """
    names = lister.list_folders(root)
    splits = {name: split for name in names if (split := split_of(name))}
    if not splits:
        return {"train": root}
    if "train" not in splits.values():
        raise InputError(_splits_without_train(root, names, splits))
    problems = [_unclear(root, name) for name, split in splits.items() if split == "unclear"]
    for split in ("train", "val", "test"):
        same = [name for name in names if splits.get(name) == split]
        if len(same) > 1:
            what = f"{' and '.join(f'{name}/' for name in same)} in {root} both look like the {split} split"
            problems.append(Problem("data.root", what, "keep one, or put them into one folder"))
    others = [name for name in names if name not in splits and lister.list_folder(root / name)]
    if others:
        what = f"{root} has {_enumerate(others)} beside {_enumerate(list(splits))}, which would not be used"
        hint = "move it elsewhere, or name it train, val or test; if all of them are classes, put them into a folder train/"
        problems.append(Problem("data.root", what, hint))
    if problems:
        raise InputError(*problems)
    return {split: root / name for name, split in splits.items()}


def check_class_names(folder: Path, names: Sequence[str]) -> None:
    """Raise InputError if all class folders have the names of splits, as in `train/train/` and `train/val/`."""
    if names and all(split_of(name) for name in names):
        what = f"{folder} has the folders {_enumerate(names)}, which look like splits and not like classes"
        raise InputError(Problem("data.root", what, "name the folder in which train/ lies; inside, one sub-folder per class"))


def check_class_folder(folder: Path, paths: Sequence[str]) -> None:
    """Raise InputError if the images of a class (paths relative to its folder) lie in splits: `cats/train/` and `cats/test/`."""
    names = sorted({path.partition("/")[0] for path in paths if "/" in path})
    if {"train"} < {split_of(name) for name in names} - {None, "unclear"}:
        what = f"the class folder {folder} has {_enumerate(names)}, which look like splits: their images would be mixed"
        raise InputError(Problem("data.root", what, f"turn the folders around: train/{folder.name}/, test/{folder.name}/"))


def _splits_without_train(root: Path, names: Sequence[str], splits: dict[str, str]) -> Problem:
    what = f"{root} has {_enumerate(list(splits))}, which looks like a split, and no train/"
    if len(splits) < len(names):
        hint = "put the class folders into train/; if it is a class, put all of them into a folder train/"
    else:
        hint = "name the folder of the training images train"
    return Problem("data.root", what, hint)


def _unclear(root: Path, name: str) -> Problem:
    hint = "name it val (to choose the best epoch) or test (to score once), or move it elsewhere"
    return Problem("data.root", f"{root / name} may be the validation or the test split", hint)


def _enumerate(names: Sequence[str]) -> str:
    """`a/, b/ and c/`; of many, the first three."""
    shown = [f"{name}/" for name in names[:3]] + [f"{len(names) - 3} more"] * (len(names) > 3)
    return " and ".join([", ".join(shown[:-1])] * (len(shown) > 1) + shown[-1:])
