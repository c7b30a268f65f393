"""What every data set provides: three splits of images, their labels, and what the model needs to know of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from regulo.core.errors import InputError, Problem
from regulo.core.input_spec import InputSpec, Means, Stds, fit_channels
from regulo.core.paths import PathStr
from regulo.core.ranges import Share
from regulo.core.registry import PluginConfig
from regulo.core.resize import Resize
from regulo.core.types import DatasetInfo, Split
from regulo.tracking.records import DataRecord

CachePlace = Literal["ram", "disk"]
"""where decoded images are kept"""


@dataclass(frozen=True)
class Splits:
    """Three splits. The official test set stays untouched; validation is held out from the training set."""

    train: Split
    val: Split
    test: Split
    dataset_info: DatasetInfo
    notes: tuple[str, ...] = ()
    """what was left out, converted or held out, one line each, for people"""
    files: dict[str, dict[str, list[str]]] | None = None
    """of data that lie in files: for each split and class their paths, relative to the root; with it the run finds them again"""

    digests: dict[str, str] = field(default_factory=dict)
    """a digest of the files of each split, if the images do not lie in memory"""

    def items(self) -> tuple[tuple[str, Split], ...]:
        """The names and the splits, in the order train, val, test."""
        return ("train", self.train), ("val", self.val), ("test", self.test)


@dataclass(frozen=True)
class FileListing:
    """The files of a data set by split and class. None of them has been opened."""

    root: Path
    files: dict[str, dict[str, list[str]]]
    """paths relative to the root, with `/`"""
    notes: tuple[str, ...] = ()
    """what was left out or held out, one line each, for people"""


def check_splits(splits: Splits) -> Splits:
    """Return the splits. Raises InputError for an empty split, for images without labels and for a label out of range."""
    for name, split in splits.items():
        if not len(split.labels):
            raise data_error("data", f"the {name} split has no image", "a run needs images to train, validate and test on")
        if len(split.images) != len(split.labels):
            what = f"the {name} split has {len(split.images)} images and {len(split.labels)} labels"
            raise data_error("data", what, "each image needs its label")
        out_of_range = np.flatnonzero((split.labels < 0) | (split.labels >= splits.dataset_info.num_classes))
        if len(out_of_range):
            what = f"image {out_of_range[0]} of the {name} split has the label {split.labels[out_of_range[0]]}"
            more = f", and {len(out_of_range) - 1} more are wrong" if len(out_of_range) > 1 else ""
            hint = f"there are {splits.dataset_info.num_classes} classes: labels are 0 to {splits.dataset_info.num_classes - 1}"
            raise data_error("data", what + more, hint)
    return splits


class DatasetConfig(PluginConfig):
    """A data set. Its loaders return whole batches as uint8."""

    root: PathStr | None = None
    """folder of the files; null: the default of the data set"""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """images that a device computes at once; with optim.accumulate=1, those of a training step"""
    device: Literal["auto", "loader", "device"] = "auto"
    """where training images are augmented. device: they stay on the device, and a batch is augmented there as a whole, without
    loader processes; loader: one by one, by loader processes; auto: device if all images have one size, lie in memory, fit on the
    device, and every technique that augments them has a batched form"""
    num_workers: Annotated[int, Field(ge=0)] | None = None
    """loader processes per device; null: half of the cores that each device gets, at most 8"""
    clean_subset: Annotated[int, Field(ge=1)] = 1000
    """training images, fixed and not augmented, on which training accuracy and the gap are measured"""

    max_train_images: Annotated[int, Field(ge=1)] | None = None
    """train on this many images only, stratified by class, drawn with the seed; null: all"""
    label_noise: Share = 0.0
    """share of the training labels that are replaced by uniformly drawn ones (arXiv:1611.03530); the training accuracy then shows
    how many of them are memorized. Labels of validation and test stay"""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """cross-validation: all images but those of an official test set are cut into this many folds, stratified by class; one of
    them is the test split. `regulo crossval` trains all"""
    fold: Annotated[int, Field(ge=0)] | None = None
    """the fold that is the test split, from 0"""

    @model_validator(mode="after")
    def _check_fold(self) -> Self:
        if (self.folds is None) != (self.fold is None):
            raise ValueError("folds and fold belong together: data.folds=5 data.fold=0")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} is none of the {self.folds} folds, which are 0 to {self.folds - 1}")
        return self

    mean: Means | None = None
    """mean of each channel, of images scaled to [0, 1]; null: that of the weights, else that of the training images"""
    std: Stds | None = None
    """standard deviation of each channel, as `mean`"""

    @model_validator(mode="after")
    def _check_normalization(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: set both, or none")
        return self

    def take_input(self, spec: InputSpec) -> Self:
        """The config with what trained weights expect in its fields that are null. It ignores fields that it does not have."""
        update = {name: value for name, value in spec if name in type(self).model_fields and getattr(self, name) is None}
        return self.model_copy(update=update)

    def normalize_as_configured(self, splits: Splits) -> Splits:
        """The splits with `mean` and `std`, if they are set. Raises InputError for another number of channels."""
        if self.mean is None or self.std is None:
            return splits
        channels = splits.dataset_info.channels
        try:
            mean, std = fit_channels(self.mean, channels), fit_channels(self.std, channels)
        except ValueError as error:
            raise data_error("data.mean", str(error), "give one number per channel, or leave mean and std out") from error
        return replace(splits, dataset_info=replace(splits.dataset_info, mean=mean, std=std))

    def splits(self) -> Splits:
        """Read or open the files. Raises InputError if they are missing or damaged."""
        raise NotImplementedError

    def list_files(self) -> FileListing | None:
        """The files of a new run; None if the images do not lie in files of their own. Raises InputError."""
        return None

    def restore_splits(self, record: DataRecord | None) -> Splits:
        """The splits of a run, of which `record` is the data.json; None: it is of version 0.1, which wrote none.

        Raises InputError if its files are missing.
        """
        return self.splits()

    def describe_source(self) -> str:
        """Where the images are from, for people."""
        return f"{self.name} in {self.root}" if self.root else self.name

    def resize(self) -> Resize | None:
        """How images of any size get the size in the dataset info, in evaluation and before augmentation.

        None if all images have this size.
        """
        return None

    def cache_place(self) -> CachePlace | None:
        """Where the decoded images of files are kept between epochs; None: nowhere."""
        return None


_DOWNLOADS = ContextVar("downloads", default=True)


@contextmanager
def allow_downloads(enabled: bool) -> Iterator[None]:
    """Context in which a data set that is not on this machine may, or may not, be downloaded."""
    token = _DOWNLOADS.set(enabled)
    try:
        yield
    finally:
        _DOWNLOADS.reset(token)


def may_download() -> bool:
    """Whether a data set that is not on this machine may be downloaded now."""
    return _DOWNLOADS.get()


def images_per_step(batch_size: int, images: int, devices: int) -> int:
    """Training images of one step over all devices: `batch_size` on each; if there are fewer, all that can be shared evenly."""
    return min(batch_size * devices, images - images % devices)


def channel_mean_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of images (N, H, W, C) uint8, scaled to [0, 1]; rounded to 6 digits."""
    flat = images.reshape(-1, images.shape[-1])
    histograms = [np.bincount(flat[:, c], minlength=256) / len(flat) for c in range(flat.shape[1])]
    levels = np.arange(256) / 255
    means = [float(h @ levels) for h in histograms]
    stds = [float(np.sqrt(h @ (levels - m) ** 2)) for h, m in zip(histograms, means, strict=True)]
    return tuple(round(m, 6) for m in means), tuple(max(round(s, 6), 1e-3) for s in stds)


def data_error(key: str, what: str, hint: str) -> InputError:
    """The error of a data set that cannot be used: the config key, what is wrong, and what to do."""
    return InputError(Problem(key, what, hint))
