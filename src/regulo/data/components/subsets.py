"""Subsets of a data set that are the same in every run."""

import hashlib
from collections.abc import Sequence

import numpy as np

from regulo.core.types import Split
from regulo.data.base import DatasetConfig


def fixed_subset(n: int, size: int, seed: int = 0) -> np.ndarray:
    """`size` indices out of range(n) (all, if n is smaller), the same in every run, in increasing order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:size])


def stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, subset) such that `subset` has round(fraction · n_k) images of every class k, and at least one."""
    rng = np.random.default_rng(seed)
    in_subset = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        indices = rng.permutation(np.flatnonzero(labels == label))
        in_subset[indices[: max(1, round(fraction * len(indices)))]] = True
    return np.flatnonzero(~in_subset), np.flatnonzero(in_subset)


def hash_split(keys: Sequence[str], labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, subset) such that `subset` has round(fraction · n_k) images of every class k, and at least one.

    Those are the images whose keys (n) have the smallest hashes: adding or renaming an image moves few others, or none.
    """
    hashes = [hashlib.blake2b(f"{seed} {key}".encode("utf-8", "surrogateescape"), digest_size=8).digest() for key in keys]
    in_subset = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        indices = sorted(np.flatnonzero(labels == label), key=lambda i: (hashes[i], keys[int(i)]))
        in_subset[indices[: max(1, round(fraction * len(indices)))]] = True
    return np.flatnonzero(~in_subset), np.flatnonzero(in_subset)


def subsample_train(train: Split, config: DatasetConfig, num_classes: int, seed: int) -> Split:
    """The training split with at most `max_train_images` images and with `label_noise` in its labels."""
    if config.max_train_images is not None and config.max_train_images < len(train.labels):
        fraction = config.max_train_images / len(train.labels)
        train = train.select(stratified_split(train.labels, fraction, seed)[1])
    if config.label_noise:
        rng = np.random.default_rng(seed)
        noisy = rng.random(len(train.labels)) < config.label_noise
        random_labels = rng.integers(num_classes, size=len(train.labels))
        train = Split(train.images, np.where(noisy, random_labels, train.labels))
    return train
