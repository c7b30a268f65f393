"""Subsets of a data set that are the same in every run."""

import hashlib
from collections.abc import Sequence

import numpy as np

from regulo.core.errors import InputError, Problem
from regulo.core.types import Split
from regulo.data.base import DatasetConfig


def fixed_subset(n: int, size: int, seed: int = 0) -> np.ndarray:
    """`size` indices out of range(n) (all, if n is smaller), the same in every run, in increasing order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:size])


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, subset) such that `subset` has round(fraction · n_k) images of every class k, and at least one."""
    in_subset = _draw(labels, _round_counts(labels, fraction), seed)
    return np.flatnonzero(~in_subset), np.flatnonzero(in_subset)


def _round_counts(labels: np.ndarray, fraction: float) -> np.ndarray:
    """round(fraction · n_k) for every class k that occurs, and at least 1."""
    class_sizes = np.unique(labels, return_counts=True)[1]
    return np.maximum(1, np.rint(fraction * class_sizes).astype(int))


def _draw(labels: np.ndarray, counts: np.ndarray, seed: int) -> np.ndarray:
    """Which images are in a subset with counts[k] images of the k-th class that occurs."""
    rng = np.random.default_rng(seed)
    in_subset = np.zeros(len(labels), bool)
    for label, count in zip(np.unique(labels), counts, strict=True):
        in_subset[rng.permutation(np.flatnonzero(labels == label))[:count]] = True
    return in_subset


def stratified_subset(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Indices of exactly `size` images, fewer than all, with the classes in their proportions and at least one image of each.

    Raises InputError if there are more classes than that.
    """
    fraction, class_sizes = size / len(labels), np.unique(labels, return_counts=True)[1]
    if size < len(class_sizes):
        what = f"{size} images are too few for the {len(class_sizes)} classes of the training images: each needs one"
        raise InputError(Problem("data.max_train_images", what, f"data.max_train_images={len(class_sizes)} or more"))
    counts = _round_counts(labels, fraction)
    while excess := int(counts.sum()) - size:  # rounding has given too many, or too few: change those that it changed most
        step = 1 if excess > 0 else -1
        rounding = step * (counts - fraction * class_sizes)
        rounding[counts == (1 if excess > 0 else class_sizes)] = -np.inf
        candidates = np.argsort(-rounding, kind="stable")[: min(abs(excess), int(np.isfinite(rounding).sum()))]
        counts[candidates] -= step
    return np.flatnonzero(_draw(labels, counts, seed))


def hash_keys(keys: Sequence[str], salt: str) -> np.ndarray:
    """A hash (n,) uint64 of each key. Other salts give other orders."""
    digests = [hashlib.blake2b(f"{salt} {key}".encode("utf-8", "surrogateescape"), digest_size=8).digest() for key in keys]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64)


def hash_split(hashes: np.ndarray, labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, subset) such that `subset` has round(fraction · n_k) images of every class k, and at least one. If there are
    two or more, `rest` has one, too.

    Those are the images with the smallest hashes (n,), of `hash_keys`: adding or renaming an image moves few others, or none.
    """
    order = np.lexsort((hashes, labels))  # class by class, each by its hashes
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    counts = np.maximum(1, np.minimum(np.rint(fraction * sizes), sizes - 1))
    places = np.arange(len(labels)) - np.repeat(starts, sizes)  # in the class
    in_subset = np.zeros(len(labels), bool)
    in_subset[order[places < np.repeat(counts, sizes)]] = True
    return np.flatnonzero(~in_subset), np.flatnonzero(in_subset)


def subsample_train(train: Split, config: DatasetConfig, num_classes: int, seed: int) -> Split:
    """The training split with `max_train_images` images, if it has more, and with `label_noise` in its labels.

    Raises InputError if there are fewer images than classes.
    """
    if config.max_train_images is not None and config.max_train_images < len(train.labels):
        train = train.select(stratified_subset(train.labels, config.max_train_images, seed))
    if config.label_noise:
        rng = np.random.default_rng(seed)
        noisy = rng.random(len(train.labels)) < config.label_noise
        random_labels = rng.integers(num_classes, size=len(train.labels))
        train = Split(train.images, np.where(noisy, random_labels, train.labels))
    return train
