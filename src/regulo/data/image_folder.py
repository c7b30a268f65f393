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

SPLIT_FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test",)}


class ImageFolder(DatasetConfig):
    """Class folders of images in any common format. Gray, RGBA, palette, 16-bit and EXIF-rotated files are read correctly."""

    reference: ClassVar[str] = "your files"

    root: PathStr | None = None
    """the folder; required"""
    image_size: Annotated[int, Field(ge=8, le=4096)] = 64
    """H = W in pixels: the shorter side is resized to 8/7 of it, then the center is cropped"""
    channels: Literal[1, 3] = 3
    """1: gray, 3: RGB"""
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """share of each class that is held out for validation if there is no `val/`"""
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """share of each class that is held out for the test if there is no `test/`"""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """seed of the held-out files; separate from `seed`, so that runs with other seeds have the same splits"""
    verify_images: Literal["full", "header", "none"] = "full"
    """before training: decode every file, or read only its header (for millions of files), or check none"""

    def splits(self) -> Splits:
        folders = self._folders()
        classes = class_names(folders["train"])
        files = {part: list_images(folder, classes) for part, folder in folders.items()}
        self._hold_out(files)
        self._check_images(files, classes)
        splits = {part: Split(ImageFiles(paths, self.channels), labels) for part, (paths, labels) in files.items()}
        mean, std = self._channel_mean_std(splits["train"])
        dataset_info = DatasetInfo(self.channels, self.image_size, self.image_size, tuple(classes), mean, std)
        return Splits(splits["train"], splits["val"], splits["test"], dataset_info)

    def _hold_out(self, files: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Move files (paths, labels) from `train` into `test` and `val`, for those of the two that have no folder."""
        has_test_folder = "test" in files
        for part, fraction in (("test", self.test_fraction), ("val", self.val_fraction)):
            if part not in files:
                if part == "val" and not has_test_folder:  # fractions are of all files, and the test files are no longer in train
                    fraction /= 1 - self.test_fraction
                paths, labels = files["train"]
                rest, subset = stratified_split(labels, fraction, self.split_seed)
                files["train"], files[part] = (paths[rest], labels[rest]), (paths[subset], labels[subset])

    def _check_images(self, files: dict[str, tuple[np.ndarray, np.ndarray]], classes: list[str]) -> None:
        """Raise InputError if a class has no training image, or if a file cannot be read."""
        for part, (paths, labels) in files.items():
            empty = [name for k, name in enumerate(classes) if not (labels == k).any()]
            if empty and part == "train":
                raise data_error("data.root", f"too few images for training in the classes {', '.join(empty)}", "add some")
            if self.verify_images != "none":
                self._check_readable(paths, part)

    def _folders(self) -> dict[str, Path]:
        if self.root is None:
            raise data_error("data.root", "image_folder needs the folder of your images", "data.root=path/to/images")
        root = expand_path(self.root)
        if not root.is_dir():
            near = nearest(root.name, [p.name for p in root.parent.iterdir() if p.is_dir()]) if root.parent.is_dir() else ""
            raise data_error("data.root", f"there is no folder {root}", near)
        parts = {part: root / n for part, options in SPLIT_FOLDERS.items() for n in options if (root / n).is_dir()}
        return parts if "train" in parts else {"train": root}

    def resize_transforms(self) -> list[Any]:
        A = import_albumentations()
        import cv2

        return [
            A.SmallestMaxSize(max_size=round(self.image_size * 8 / 7), interpolation=cv2.INTER_AREA),
            A.CenterCrop(self.image_size, self.image_size),
        ]

    def _check_readable(self, paths: np.ndarray, part: str) -> None:
        """Raise InputError that names the files which cannot be read (the first 20)."""
        from rich.progress import track

        def error_message(raw: bytes) -> str:
            try:
                read_image(raw, self.channels) if self.verify_images == "full" else open_image(raw).close()
            except Exception as error:  # a decoder may raise anything on a damaged file
                return describe_error(raw, error)
            return ""

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            results: Iterable[str] = pool.map(error_message, paths)
            progress = track(results, f"checking {part} images", total=len(paths), transient=True, disable=len(paths) < 500)
            messages = [message for message in progress if message]
        if messages:
            problems = [Problem("data.root", message, "repair or remove it") for message in messages[:20]]
            if len(messages) > 20:
                problems.append(Problem("data.root", f"… and {len(messages) - 20} more"))
            raise InputError(*problems)

    def _channel_mean_std(self, train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over 500 training images."""
        pipeline = import_albumentations().Compose(self.resize_transforms())
        indices = fixed_subset(len(train.labels), 500)
        return channel_mean_std(np.stack([pipeline(image=train.images[i])["image"] for i in indices]))


class ImageFiles:
    """A sequence of images, each read when it is indexed.

    Paths are stored in one array of bytes: a million of them reach a loader process as fast as one.
    """

    def __init__(self, paths: np.ndarray, channels: int) -> None:
        self.paths, self.channels = paths, channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | np.ndarray) -> "np.ndarray | ImageFiles":
        if isinstance(index, np.ndarray):
            return ImageFiles(self.paths[index], self.channels)
        try:
            return read_image(self.paths[index], self.channels)
        except MemoryError:
            raise
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise UnreadableImageError(describe_error(self.paths[index], error)) from error


def describe_error(raw: bytes, error: Exception) -> str:
    """Which file cannot be read, and why: one line, even if the file name has a line break."""
    path = os.fsdecode(raw)
    reason = getattr(error, "strerror", None) or str(error).removesuffix(f" {path!r}") or type(error).__name__
    return f"cannot read {path!r}: {' '.join(str(reason).split())}"


def class_names(folder: Path) -> list[str]:
    """Names of the class folders, sorted. Raises InputError if there are fewer than two, or if a name cannot be shown."""
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        what = f"{folder} has {len(names)} class folders, and a classifier needs at least two"
        raise data_error("data.root", what, "one sub-folder per class, its images inside")
    for name in names:
        if not is_printable(name):
            raise data_error("data.root", f"the class folder {name!r} has no readable name", "rename it")
    return names


def list_images(folder: Path, classes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Paths (N,) bytes and labels (N,) int64 of all images below the class folders, sorted.

    Raises InputError for a class folder that is not in `classes`, and if there is no image.
    """
    unknown = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in classes]
    if unknown:
        what = f"{folder} has the class {unknown[0]!r}, which train does not have"
        raise data_error("data.root", what, nearest(unknown[0], classes))
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(p for p in (folder / name).rglob("*") if p.suffix.lower() in EXTENSIONS)
        paths += [os.fsencode(p) for p in files]
        labels += [label] * len(files)
    if not paths:
        raise data_error("data.root", f"there is no image below {folder}", "endings: " + " ".join(EXTENSIONS))
    return np.array(paths), np.array(labels, np.int64)
