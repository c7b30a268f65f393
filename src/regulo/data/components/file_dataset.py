"""What data sets of image files have in common: what is held out, how files are opened, and what a run keeps of them."""

import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from regulo.core.errors import InputError
from regulo.core.input_spec import CropShare, ImageSize
from regulo.core.resize import CenterBox, Interpolation, Resize
from regulo.core.text import join_first
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import CachePlace, DatasetConfig, FileListing, Splits, data_error
from regulo.data.components.copies import find_copies
from regulo.data.components.file_images import FileImages
from regulo.data.components.folds import check_pool, describe_fold
from regulo.data.components.image_check import check_images
from regulo.data.components.image_io import PixelRange
from regulo.data.components.labeled_files import (
    Files,
    LabeledFiles,
    check_class_sizes,
    check_groups,
    describe_groups,
    describe_similar_classes,
    digest_files,
    flatten_files,
    list_paths,
    split_files,
    take_fold_files,
)
from regulo.data.components.mean_std import measure_mean_std
from regulo.tracking.records import DataRecord

PARTS = ("train", "val", "test")
DEFAULT_SIZE = 64
DEFAULT_CROP_SHARE = 7 / 8


class FileDatasetConfig(DatasetConfig):
    """A data set whose images are files of any size, in any common format. docs/images.md says how they are read."""

    source_key: ClassVar[str] = "data.root"
    """the key of the configuration that says which files there are"""

    image_size: ImageSize | None = None
    """H = W in pixels, to which the middle of an image is resized; null: that of the weights, else 64"""
    crop_share: CropShare | None = None
    """share of the shorter side that evaluation sees, as a square in the middle; null: that of the weights, else 7/8"""
    interpolation: Interpolation | None = None
    """how images are resized, with antialiasing; null: that of the weights, else bilinear"""
    channels: Literal[1, 3] = 3
    """1: gray, 3: RGB"""
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """share of each class that is held out for validation if there is no validation set"""
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """share of each class that is held out for the test if there is no test set"""
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
        listing = self.list_labeled_files()
        if self.folds is None or self.fold is None:
            splits, parts, notes = self._hold_out(listing)
        else:
            splits, parts, notes = self._take_fold(listing, self.folds, self.fold)
        if listing.groups:
            check_groups(splits, listing.groups, self.source_key)
            notes += describe_groups(splits, parts, listing.groups)
        similar = describe_similar_classes(splits["train"])
        return FileListing(listing.root, {part: splits[part] for part in PARTS}, (*listing.notes, *similar, *notes))

    def list_labeled_files(self) -> LabeledFiles:
        """The files that are there now, as their owner has divided them. Raises InputError."""
        raise NotImplementedError

    def root_folder(self) -> Path:
        """The folder that all paths are relative to. Raises InputError."""
        raise NotImplementedError

    def restore_splits(self, record: DataRecord | None) -> Splits:
        root = self.root_folder()
        if record is None:
            what = "this run has no data.json: version 0.1 made it, which held out other files for val and test"
            raise data_error("data", what, "score it with version 0.1, or train again")
        if record.files is None:
            raise data_error("data", f"the images of the run are no files: {record.source}", "name a run on files")
        if self.pixel_range and record.pixel_range and list(self.pixel_range) != record.pixel_range:
            what = f"it is {list(self.pixel_range)}, and the run has {record.pixel_range}"
            raise data_error("data.pixel_range", what, "leave it out, or begin a new run")
        files: dict[str, Files] = {name: dict(record.files[name]) for name in PARTS}
        paths = list_paths(files)
        missing = [path for path in paths if not os.path.exists(root / path)]
        if missing:
            what = f"{len(missing):,} of the {len(paths):,} files of this run are not in {root}, such as {missing[0]!r}"
            raise data_error("data.root", what, "put them back, or name the folder in which they are: data.root=…")
        return self._open(root, files, self._note_new_files(set(paths)), record)

    def _hold_out(self, listing: LabeledFiles) -> tuple[dict[str, Files], list[str], list[str]]:
        """The splits; the held-out ones of "test" and "val", which their owner has not chosen; and notes about them."""
        splits = dict(listing.splits)
        parts = [part for part in ("test", "val") if part not in splits]
        check_class_sizes(splits["train"], 1 + len(parts), self.source_key)
        shares = {"test": self.test_fraction, "val": self.val_fraction}
        fractions = [shares[part] for part in parts]
        if len(parts) == 2:  # shares are of all files, and the test files are no longer there when those of val are chosen
            fractions[1] /= 1 - self.test_fraction
        splits["train"], *held_out = split_files(splits["train"], fractions, self.split_seed, listing.groups)
        splits |= dict(zip(parts, held_out, strict=True))
        share_text, missing = " and ".join(f"{shares[part]:.0%} for {part}" for part in parts), " and no ".join(parts)
        return (
            splits,
            parts,
            [f"held out: of each class {share_text}, as there is no {missing} split"] if parts else [],
        )

    def _take_fold(self, listing: LabeledFiles, folds: int, fold: int) -> tuple[dict[str, Files], list[str], list[str]]:
        """The splits with this fold as the test split, the names of the held-out ones, and notes about them."""
        splits, groups = listing.splits, listing.groups
        pool = {name: sorted([*paths, *splits.get("val", {}).get(name, ())]) for name, paths in splits["train"].items()}
        check_pool({name: len(paths) for name, paths in pool.items()}, folds, self.source_key)
        rest, test = take_fold_files(pool, folds, fold, self.split_seed, groups)
        train, val = split_files(rest, [self.val_fraction], self.split_seed, groups)
        num_test, num_pool = (sum(map(len, files.values())) for files in (test, pool))
        notes = [
            describe_fold(self, num_test, num_pool, has_test="test" in splits),
            f"held out: of each class {self.val_fraction:.0%} of the others for val",
        ]
        return {"train": train, "val": val, "test": test}, ["val", "test"], notes

    def _open(self, root: Path, files: dict[str, Files], notes: list[str], record: DataRecord | None = None) -> Splits:
        """The splits of these files; `record` is that of a run which has them. Raises InputError if a file cannot be read."""
        classes = list(files["train"])
        arrays = {part: flatten_files(root, files[part], classes) for part in PARTS}
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
                notes.append(f"{part} has no image of {join_first(absent)}")
        channels = measure_mean_std(splits["train"], self.resize())
        dataset_info = DatasetInfo(self.channels, self.side, self.side, tuple(classes), channels.mean, channels.std, pixel_range)
        digests = {part: digest_files(root, files[part]) for part in files}
        return Splits(splits["train"], splits["val"], splits["test"], dataset_info, tuple(notes), files, digests)

    def _note_new_files(self, paths: set[str]) -> list[str]:
        """What is there now and was not when the run began, for people."""
        try:
            listing = self.list_labeled_files()
        except InputError:  # the run has its files, whatever is beside them
            return []
        new = set(list_paths(listing.splits)) - paths
        return [f"not used: {len(new):,} image{'s' * (len(new) != 1)} that came after the run began"] if new else []

    def resize(self) -> Resize:
        box = CenterBox(self.crop_share or DEFAULT_CROP_SHARE)
        return Resize(self.side, self.side, box, self.interpolation or "bilinear")

    def cache_place(self) -> CachePlace | None:
        return self.cache if self.cache != "off" else None
