"""Any folder of images: one sub-folder per class, in `train/`, `val/` and `test/`, or in one folder that is split here."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from regulo.core.errors import InputError, UnreadableImageError, nearest
from regulo.core.input_spec import CropShare, ImageSize, Interpolation
from regulo.core.paths import PathStr, expand_path
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import DatasetConfig, Splits, channel_mean_std, data_error
from regulo.data.components.class_folders import (
    Files,
    check_class_sizes,
    digest_files,
    flatten_files,
    list_paths,
    list_splits,
    split_files,
)
from regulo.data.components.image_check import check_images, describe_error
from regulo.data.components.image_files import ImageLister
from regulo.data.components.image_io import PixelRange, import_albumentations, read_image
from regulo.data.components.split_folders import find_split_folders
from regulo.data.components.subsets import fixed_subset
from regulo.tracking.records import DataRecord

DEFAULT_SIZE = 64
DEFAULT_CROP_SHARE = 7 / 8
INTERPOLATIONS: dict[Interpolation, str] = {
    "area": "INTER_AREA",
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "lanczos": "INTER_LANCZOS4",
}
"""OpenCV's names"""


class ImageFolder(DatasetConfig):
    """Class folders of images in any common format. docs/images.md says which files are read, and how."""

    reference: ClassVar[str] = "your files"

    root: PathStr | None = None
    """the folder; required"""
    image_size: ImageSize | None = None
    """H = W in pixels of the center that is cropped; null: that of the weights, else 64"""
    crop_share: CropShare | None = None
    """share of the shorter side that the crop takes: before it, the image is resized to image_size / crop_share; null: that of
    the weights, else 7/8"""
    interpolation: Interpolation | None = None
    """how images are resized; null: that of the weights, else area"""
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
    pixel_range: PixelRange | None = None
    """of files with more than 8 bits per channel: the values that become 0 and 255; null: the smallest and the largest value of
    the training images"""

    @property
    def side(self) -> int:
        """H = W in pixels."""
        return self.image_size or DEFAULT_SIZE

    def splits(self) -> Splits:
        root = self._root()
        lister = ImageLister(root)
        listing = list_splits(root, lister)
        notes = [*lister.omissions.notes(), *self._hold_out(listing)]
        return self._open(root, listing, notes)

    def restore_splits(self, record: DataRecord | None) -> Splits:
        root = self._root()
        if record is None:
            if len(find_split_folders(root, ImageLister(root))) == 3:
                splits = self.splits()
                note = "this run has no data.json (version 0.1 made it): the images that are there now are used"
                return dataclasses.replace(splits, notes=(*splits.notes, note))
            what = "this run has no data.json: version 0.1 made it, which held out other files for val and test"
            raise data_error("data", what, "score it with version 0.1, or train again")
        if record.files is None:
            raise data_error("data", f"the images of the run are no files: {record.source}", "name a run on a folder of images")
        if self.pixel_range and record.pixel_range and list(self.pixel_range) != record.pixel_range:
            what = f"it is {list(self.pixel_range)}, and the run has {record.pixel_range}"
            raise data_error("data.pixel_range", what, "leave it out, or begin a new run")
        files: dict[str, Files] = {name: dict(record.files[name]) for name in ("train", "val", "test")}
        paths = list_paths(files)
        missing = [path for path in paths if not os.path.exists(root / path)]
        if missing:
            what = f"{len(missing):,} of the {len(paths):,} files of this run are not in {root}, such as {missing[0]!r}"
            raise data_error("data.root", what, "put them back, or name the folder in which they are: data.root=…")
        return self._open(root, files, self._note_new_files(root, set(paths)), record)

    def _root(self) -> Path:
        if self.root is None:
            raise data_error("data.root", "image_folder needs the folder of your images", "data.root=path/to/images")
        root = expand_path(self.root)
        if not root.is_dir():
            near = nearest(root.name, [p.name for p in root.parent.iterdir() if p.is_dir()]) if root.parent.is_dir() else ""
            raise data_error("data.root", f"there is no folder {root}", near)
        return root

    def _hold_out(self, listing: dict[str, Files]) -> list[str]:
        """Move files from `train` into `test` and `val`, for those of the two that have no folder. Returns notes about it."""
        held_out = [part for part in ("test", "val") if part not in listing]
        check_class_sizes(listing["train"], 1 + len(held_out))
        shares = []
        for part in held_out:
            fraction = share = self.test_fraction if part == "test" else self.val_fraction
            if part == "val" and "test" in held_out:  # fractions are of all files, and the test files are no longer in train
                fraction /= 1 - self.test_fraction
            listing["train"], listing[part] = split_files(listing["train"], fraction, self.split_seed)
            shares.append(f"{share:.0%} for {part}")
        folders = " and no ".join(f"{part}/" for part in held_out)
        return [f"held out: of each class {' and '.join(shares)}, as there is no {folders}"] if shares else []

    def _open(self, root: Path, files: dict[str, Files], notes: list[str], record: DataRecord | None = None) -> Splits:
        """The splits of these files; `record` is that of a run which has them. Raises InputError if a file cannot be read."""
        classes = list(files["train"])
        arrays = {part: flatten_files(root, files[part], classes) for part in ("train", "val", "test")}
        check = check_images({part: paths for part, (paths, _) in arrays.items()}, self.channels, self.verify_images)
        if record:
            pixel_range = (record.pixel_range[0], record.pixel_range[1]) if record.pixel_range else None
        else:
            pixel_range = self.pixel_range or check.pixel_range
            notes = [*notes, *check.notes(pixel_range)]
            if self.pixel_range and not check.deep:
                notes.append("data.pixel_range has no effect: none of the files has more than 8 bits")
        if check.deep and not pixel_range:
            what = f"{check.deep:,} files of val or test have more than 8 bits per channel, and those of train have not"
            raise data_error("data.pixel_range", what, "save all files with 8 bits, or set data.pixel_range=[LOW,HIGH]")
        splits = {part: Split(ImageFiles(p, self.channels, pixel_range), labels) for part, (p, labels) in arrays.items()}
        for part in ("val", "test"):
            if not record and (absent := [name for name in classes if not files[part].get(name)]):
                notes.append(f"{part} has no image of {', '.join(absent[:10])}{', …' if len(absent) > 10 else ''}")
        mean, std = self._channel_mean_std(splits["train"])
        dataset_info = DatasetInfo(self.channels, self.side, self.side, tuple(classes), mean, std, pixel_range)
        digests = {part: digest_files(root, files[part]) for part in files}
        return Splits(splits["train"], splits["val"], splits["test"], dataset_info, tuple(notes), files, digests)

    def _note_new_files(self, root: Path, paths: set[str]) -> list[str]:
        """What is in the folder now and was not when the run began, for people."""
        try:
            listing = list_splits(root, ImageLister(root))
        except InputError:  # the run has its files, whatever is beside them
            return []
        new = set(list_paths(listing)) - paths
        return [f"not used: {len(new):,} image{'s' * (len(new) != 1)} that came after the run began"] if new else []

    def resize_transforms(self) -> list[Any]:
        A = import_albumentations()
        import cv2

        return [
            A.SmallestMaxSize(
                max_size=round(self.side / (self.crop_share or DEFAULT_CROP_SHARE)),
                interpolation=getattr(cv2, INTERPOLATIONS[self.interpolation or "area"]),
            ),
            A.CenterCrop(self.side, self.side),
        ]

    def _channel_mean_std(self, train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over 500 training images."""
        pipeline = import_albumentations().Compose(self.resize_transforms())
        indices = fixed_subset(len(train.labels), 500)
        return channel_mean_std(np.stack([pipeline(image=train.images[i])["image"] for i in indices]))


class ImageFiles:
    """A sequence of images, each read when it is indexed.

    Paths are stored in one array of bytes: a million of them reach a loader process as fast as one.
    """

    def __init__(self, paths: np.ndarray, channels: int, pixel_range: PixelRange | None = None) -> None:
        self.paths, self.channels, self.pixel_range = paths, channels, pixel_range

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | np.ndarray) -> "np.ndarray | ImageFiles":
        if isinstance(index, np.ndarray):
            return ImageFiles(self.paths[index], self.channels, self.pixel_range)
        try:
            return read_image(self.paths[index], self.channels, self.pixel_range)
        except MemoryError:
            what = f"no memory is left to decode {os.fsdecode(self.paths[index])!r}"
            raise UnreadableImageError(what) from None  # whose message names the file, unlike that of a full memory
        except Exception as error:  # a decoder may raise anything on a damaged file
            raise UnreadableImageError(describe_error(self.paths[index], error)) from error
