"""Any folder of images: one sub-folder per class, in `train/`, `val/` and `test/`, or in one folder that is split here."""

import dataclasses
import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regulo.core.errors import InputError, nearest
from regulo.core.input_spec import CropShare, ImageSize
from regulo.core.paths import PathStr, expand_path
from regulo.core.resize import CenterBox, Interpolation, Resize
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import CachePlace, DatasetConfig, FileListing, Splits, channel_mean_std, data_error
from regulo.data.components.class_folders import (
    Files,
    check_class_sizes,
    digest_files,
    flatten_files,
    list_paths,
    list_splits,
    split_files,
)
from regulo.data.components.copies import find_copies
from regulo.data.components.dataset import BatchedImages
from regulo.data.components.file_images import FileImages
from regulo.data.components.image_check import check_images
from regulo.data.components.image_files import ImageLister
from regulo.data.components.image_io import PixelRange
from regulo.data.components.split_folders import find_split_folders
from regulo.data.components.subsets import fixed_subset
from regulo.tracking.records import DataRecord

DEFAULT_SIZE = 64
DEFAULT_CROP_SHARE = 7 / 8


class ImageFolder(DatasetConfig):
    """Class folders of images in any common format. docs/images.md says which files are read, and how."""

    reference: ClassVar[str] = "your files"

    root: PathStr | None = None
    """the folder; required"""
    image_size: ImageSize | None = None
    """H = W in pixels, to which the middle of an image is resized; null: that of the weights, else 64"""
    crop_share: CropShare | None = None
    """share of the shorter side that evaluation sees, as a square in the middle; null: that of the weights, else 7/8"""
    interpolation: Interpolation | None = None
    """how images are resized, with antialiasing; null: that of the weights, else bilinear"""
    channels: Literal[1, 3] = 3
    """1: gray, 3: RGB"""
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """share of each class that is held out for validation if there is no `val/`"""
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """share of each class that is held out for the test if there is no `test/`"""
    split_seed: Annotated[int, Field(ge=0)] = 0
    """seed of the held-out files; separate from `seed`, so that runs with other seeds have the same splits"""
    verify_images: Literal["full", "header", "none"] = "full"
    """before training: decode every file, or read only its header (for millions of files), or check none. A file that has not
    changed since is not checked again"""
    cache: Literal["off", "ram", "disk"] = "off"
    """where decoded images are kept: nowhere, in memory until the run ends, or in the user's cache folder, which later runs use,
    too. Scores of val and test do not change; random crops are cut from smaller copies (docs/images.md)"""
    pixel_range: PixelRange | None = None
    """of files with more than 8 bits per channel: the values that become 0 and 255; null: the smallest and the largest value of
    the training images"""

    @property
    def side(self) -> int:
        """H = W in pixels."""
        return self.image_size or DEFAULT_SIZE

    def splits(self) -> Splits:
        listing = self.list_files()
        return self._open(listing.root, listing.files, list(listing.notes))

    def list_files(self) -> FileListing:
        root = self._root()
        lister = ImageLister(root)
        files = list_splits(root, lister)
        notes = (*lister.omissions.notes(), *self._hold_out(files))
        return FileListing(root, {part: files[part] for part in ("train", "val", "test")}, notes)

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
        check = check_images({part: paths for part, (paths, _) in arrays.items()}, self.channels, self.verify_images, root)
        if record:
            pixel_range = (record.pixel_range[0], record.pixel_range[1]) if record.pixel_range else None
        else:
            pixel_range = self.pixel_range or check.pixel_range
            notes = [*notes, *check.notes(pixel_range)]
            if self.verify_images != "none":
                paths, labels = ({part: pair[i] for part, pair in arrays.items()} for i in (0, 1))
                notes += find_copies(paths, labels).notes()
            if self.pixel_range and not check.deep:
                notes.append("data.pixel_range has no effect: none of the files has more than 8 bits")
        if check.deep and not pixel_range:
            what = f"{check.deep:,} files of val or test have more than 8 bits per channel, and those of train have not"
            raise data_error("data.pixel_range", what, "save all files with 8 bits, or set data.pixel_range=[LOW,HIGH]")
        splits = {part: Split(FileImages(p, self.channels, pixel_range), labels) for part, (p, labels) in arrays.items()}
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

    def resize(self) -> Resize:
        box = CenterBox(self.crop_share or DEFAULT_CROP_SHARE)
        return Resize(self.side, self.side, box, self.interpolation or "bilinear")

    def cache_place(self) -> CachePlace | None:
        return self.cache if self.cache != "off" else None

    def _channel_mean_std(self, train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel over 500 training images."""
        keys = [(0, int(i), 0) for i in fixed_subset(len(train.labels), 500)]
        batch = BatchedImages(train, [self.resize()], seed=0).__getitems__(keys)
        return channel_mean_std(batch.images.permute(0, 2, 3, 1).numpy())
