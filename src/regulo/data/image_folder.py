"""Any folder of images: one sub-folder per class, in `train/`, `val/` and `test/`, or in one folder that is split here."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from regulo.core.errors import InputError, Problem, UnreadableImageError, is_printable, nearest
from regulo.core.paths import PathStr, expand_path
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import DatasetConfig, Splits, channel_mean_std, data_error, fixed_subset, stratified_split
from regulo.data.components.image_io import EXTENSIONS, import_albumentations, open_image, read_image

NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}


class ImageFolder(DatasetConfig):
    """Class folders of images in any common format; grey, RGBA, palette, 16-bit and EXIF-rotated files are read right."""

    reference: ClassVar[str] = "your files"

    root: PathStr | None = None
    """the folder; required"""
    image_size: Annotated[int, Field(ge=8, le=4096)] = 64
    """H = W in pixels: the shorter side is brought to 8/7 of it, and the centre is cut out"""
    channels: Literal[1, 3] = 3
    """1: grey, 3: RGB"""
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """share of each class that is held out for validation where there is no `val/`"""
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """share of each class that is held out for the test where there is no `test/`"""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """draws the held-out files; apart from `seed`, so that repeated runs share their splits"""
    verify_images: Literal["full", "header", "none"] = "full"
    """before training, decode every file, or read only its header (millions of files), or trust all"""

    def splits(self) -> Splits:
        folders = self._folders()
        classes = class_names(folders["train"])
        found = {part: list_images(folder, classes) for part, folder in folders.items()}
        for part, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            if part not in found:
                paths, labels = found["train"]
                # the fraction is of the whole folder, also when the other part has been taken away
                taken = fraction / (1 - self.test_fraction) if part == "val" and "test" not in folders else fraction
                rest, held = stratified_split(labels, taken, self.split_seed)
                found["train"], found[part] = (paths[rest], labels[rest]), (paths[held], labels[held])
        for part, (paths, labels) in found.items():
            empty = [name for k, name in enumerate(classes) if not (labels == k).any()]
            if empty and part == "train":
                raise data_error("data.root", f"too few images for training in the classes {', '.join(empty)}", "add some")
            if self.verify_images != "none":
                self._check(paths, part)
        files = {part: Split(Files(paths, self.channels), labels) for part, (paths, labels) in found.items()}
        mean, std = self._moments(files["train"])
        facts = DatasetInfo(self.channels, self.image_size, self.image_size, tuple(classes), mean, std)
        return Splits(files["train"], files["val"], files["test"], facts)

    def _folders(self) -> dict[str, Path]:
        if self.root is None:
            raise data_error("data.root", "image_folder needs the folder of your images", "data.root=path/to/images")
        root = expand_path(self.root)
        if not root.is_dir():
            near = nearest(root.name, [p.name for p in root.parent.iterdir() if p.is_dir()]) if root.parent.is_dir() else ""
            raise data_error("data.root", f"there is no folder {root}", near)
        parts = {part: root / n for part, options in NAMES.items() for n in options if (root / n).is_dir()}
        return parts if "train" in parts else {"train": root}

    def resize_transforms(self) -> list[Any]:
        A = import_albumentations()
        import cv2

        return [
            A.SmallestMaxSize(max_size=round(self.image_size * 8 / 7), interpolation=cv2.INTER_AREA),
            A.CenterCrop(self.image_size, self.image_size),
        ]

    def _check(self, paths: np.ndarray, part: str) -> None:
        """Name every file that cannot be read, before training starts."""
        from rich.progress import track

        def look(raw: bytes) -> str:
            try:
                read_image(raw, self.channels) if self.verify_images == "full" else open_image(raw).close()
            except Exception as error:  # a decoder may raise anything on a damaged file
                return fault(raw, error)
            return ""

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            faults: Iterable[str] = pool.map(look, paths)
            seen = track(faults, f"checking {part} images", total=len(paths), transient=True, disable=len(paths) < 500)
            bad = [f for f in seen if f]
        if bad:
            shown = [Problem("data.root", f, "repair or remove it") for f in bad[:20]]
            raise InputError(*shown, *([Problem("data.root", f"… and {len(bad) - 20} more")] if len(bad) > 20 else []))

    def _moments(self, train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
        pipeline = import_albumentations().Compose(self.resize_transforms())
        chosen = fixed_subset(len(train.labels), 500)
        return channel_mean_std(np.stack([pipeline(image=train.images[i])["image"] for i in chosen]))


class Files:
    """Images read when asked for. Paths lie in one array of bytes: a million of them start as fast as one."""

    def __init__(self, paths: np.ndarray, channels: int) -> None:
        self.paths, self.channels = paths, channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | np.ndarray) -> "np.ndarray | Files":
        if isinstance(index, np.ndarray):
            return Files(self.paths[index], self.channels)
        try:
            return read_image(self.paths[index], self.channels)
        except MemoryError:
            raise
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise UnreadableImageError(fault(self.paths[index], error)) from error


def fault(raw: bytes, error: Exception) -> str:
    """Which file cannot be read, and why: one line, also where the name is not."""
    path = os.fsdecode(raw)
    reason = getattr(error, "strerror", None) or str(error).removesuffix(f" {path!r}") or type(error).__name__
    return f"cannot read {path!r}: {' '.join(str(reason).split())}"


def class_names(folder: Path) -> list[str]:
    """Names of the class folders, sorted. Raises InputError if there are fewer than two."""
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        what = f"{folder} has {len(names)} class folders, and a classifier needs at least two"
        raise data_error("data.root", what, "one sub-folder per class, its images inside")
    for name in names:
        if not is_printable(name):
            raise data_error("data.root", f"the class folder {name!r} has no readable name", "rename it")
    return names


def list_images(folder: Path, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Paths (n,) bytes and labels (n,) int64 of all images below the class folders, sorted."""
    unknown = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in classes]
    if unknown:
        raise data_error("data.root", f"{folder} has the class {unknown[0]!r}, which train has not", nearest(unknown[0], classes))
    paths, labels = [], []
    for label, name in enumerate(classes):
        below = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in EXTENSIONS)
        paths += [os.fsencode(p) for p in below]
        labels += [label] * len(below)
    if not paths:
        raise data_error("data.root", f"there is no image below {folder}", "endings: " + " ".join(EXTENSIONS))
    return np.array(paths), np.array(labels, np.int64)
