"""What every data set is: three splits of images, their labels, and the facts that flow on to the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from regulo.core.errors import InputError, Problem
from regulo.core.paths import PathStr
from regulo.core.ranges import Share
from regulo.core.registry import PluginConfig
from regulo.core.types import DatasetInfo, Split


@dataclass(frozen=True)
class Splits:
    """The official test set stays untouched; validation is carved from the training set."""

    train: Split
    val: Split
    test: Split
    facts: DatasetInfo


def check_splits(splits: Splits) -> Splits:
    """The splits, if a run can be made of them. Raises InputError for an empty split and for a label that is no class."""
    for name, split in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        if not len(split.labels):
            raise data_error("data", f"the {name} split has no image", "a run needs images to train, validate and test on")
        if len(split.images) != len(split.labels):
            what = f"the {name} split has {len(split.images)} images and {len(split.labels)} labels"
            raise data_error("data", what, "each image needs its label")
        wrong = np.flatnonzero((split.labels < 0) | (split.labels >= splits.facts.num_classes))
        if len(wrong):
            what = f"image {wrong[0]} of the {name} split has the label {split.labels[wrong[0]]}"
            more = f", and {len(wrong) - 1} more are wrong" if len(wrong) > 1 else ""
            hint = f"there are {splits.facts.num_classes} classes: labels are 0 to {splits.facts.num_classes - 1}"
            raise data_error("data", what + more, hint)
    return splits


class DatasetConfig(PluginConfig):
    """A data set. Its loaders hand out whole batches as uint8."""

    root: PathStr | None = None
    """folder of the files; null: the data set's own default"""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """images per training step and device"""
    num_workers: Annotated[int, Field(ge=0)] | None = None
    """loader processes per device; null: half of the cores of a device's share, at most 8"""
    clean_subset: Annotated[int, Field(ge=1)] = 1000
    """training images, fixed and not augmented, on which training accuracy and the gap are measured"""

    max_train_images: Annotated[int, Field(ge=1)] | None = None
    """train on so many images only, of every class its share, drawn with the seed; null: all"""
    label_noise: Share = 0.0
    """share of the training labels that are replaced by uniformly drawn ones (arXiv:1611.03530); the training accuracy then says
    how much of that is memorised. Validation and test keep theirs"""

    def splits(self) -> Splits:
        """Read or open the files. Raises InputError if they are missing or damaged."""
        raise NotImplementedError

    def resize_transforms(self) -> list[Any]:
        """Albumentations transforms that bring an image of any size to that of the facts, in evaluation and before augmentation.

        None, if all images have it already.
        """
        return []


_DOWNLOADS = ContextVar("downloads", default=True)


@contextmanager
def allow_downloads(allowed: bool) -> Iterator[None]:
    """Within: whether a data set that is not on this machine may be fetched."""
    before = _DOWNLOADS.set(allowed)
    try:
        yield
    finally:
        _DOWNLOADS.reset(before)


def downloads_allowed() -> bool:
    """Whether a data set that is not on this machine may be fetched now."""
    return _DOWNLOADS.get()


def subsample_train(train: Split, spec: DatasetConfig, num_classes: int, seed: int) -> Split:
    """What is trained on: the training split, cut down and with its labels spoilt as the spec says."""
    if spec.max_train_images is not None and spec.max_train_images < len(train.labels):
        fraction = spec.max_train_images / len(train.labels)
        train = train.select(stratified_split(train.labels, fraction, seed)[1])
    if spec.label_noise:
        rng = np.random.default_rng(seed)
        wrong = rng.random(len(train.labels)) < spec.label_noise
        drawn = rng.integers(num_classes, size=len(train.labels))
        train = Split(train.images, np.where(wrong, drawn, train.labels))
    return train


def images_per_step(batch_size: int, images: int, devices: int) -> int:
    """Training images of one step over all devices: `batch_size` of each, or all that can be shared evenly if they are fewer."""
    return min(batch_size * devices, images - images % devices)


def fixed_subset(n: int, size: int, seed: int = 0) -> np.ndarray:
    """`size` of n places (all, if there are fewer), the same in every run, in increasing order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:size])


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (rest, held) such that `held` has round(fraction · n_k) images of every class k, and at least one."""
    rng = np.random.default_rng(seed)
    held = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        held.append(places[: max(1, round(fraction * len(places)))])
    mask = np.zeros(len(labels), bool)
    mask[np.concatenate(held)] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def channel_mean_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images (n, H, W, C) uint8, scaled to [0, 1]."""
    flat = images.reshape(-1, images.shape[-1])
    counts = [np.bincount(flat[:, c], minlength=256) / len(flat) for c in range(flat.shape[1])]
    levels = np.arange(256) / 255
    means = [float(p @ levels) for p in counts]
    stds = [float(np.sqrt(p @ (levels - m) ** 2)) for p, m in zip(counts, means, strict=True)]
    return tuple(round(m, 6) for m in means), tuple(max(round(s, 6), 1e-3) for s in stds)


def data_error(key: str, what: str, hint: str) -> InputError:
    """A data set that cannot be read."""
    return InputError(Problem(key, what, hint))
