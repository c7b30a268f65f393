"""Folds of cross-validation: every image is in exactly one, the same in every run, whatever the order of the images."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from regulo.core.text import join_first
from regulo.core.types import Split
from regulo.data.base import DatasetConfig, Splits, channel_mean_std, data_error
from regulo.data.components.groups import group_split
from regulo.data.components.subsets import hash_keys, hash_split


def assign_folds(
    keys: Sequence[str], labels: np.ndarray, folds: int, seed: int, groups: Sequence[str] | None = None
) -> np.ndarray:
    """The fold (n,) of each image, 0 to folds − 1, by a hash of its key; those of one group are in one fold.

    Without groups, the numbers of images of a class in two folds differ by at most one; but equal keys stay together.
    """
    if groups is not None:
        return _assign_groups(groups, labels, folds, seed)
    hashes, result = hash_keys(keys, f"fold {seed}"), np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        rank = np.searchsorted(np.sort(hashes[members]), hashes[members])  # equal keys have equal ranks
        first = label % folds  # with the same one for all classes, that fold would be the largest
        result[members] = (first + rank * folds // len(members)) % folds
    return result


def _assign_groups(groups: Sequence[str], labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """One fold after the other takes its share of the groups that are left."""
    result, left = np.full(len(labels), folds - 1, np.int64), np.arange(len(labels))
    for fold in range(folds - 1):
        groups_left = [groups[int(i)] for i in left]
        rest, subset = group_split(groups_left, labels[left], 1 / (folds - fold), f"fold {seed}")
        result[left[subset]] = fold
        left = left[rest]
    return result


def check_pool(counts: dict[str, int], folds: int, key: str) -> None:
    """Raise InputError for `key` that names the classes with too few images to train, validate and test in every fold, and for
    more folds than images.
    """
    if folds > (images := sum(counts.values())):
        raise data_error("data.folds", f"{folds} folds are more than the {images} images", "each fold tests at least one")
    smallest = 4 if folds == 2 else 3
    if few := {name: n for name, n in counts.items() if n < smallest}:
        names = join_first([f"{name} {n}" for name, n in few.items()])
        what = f"too few images for {folds} folds: {names}; each class needs at least {smallest}"
        raise data_error(key, what, "add images, or leave these classes out")


def pool_images(splits: Splits) -> tuple[Split, list[str]]:
    """The training and validation images of a data set in memory, in this order, and a digest of each. Raises InputError."""
    parts = splits.train, splits.val
    if not all(isinstance(part.images, np.ndarray) for part in parts):
        raise data_error(
            "data.folds", "these images are neither files nor an array, and cannot be cut into folds", "data.folds=null"
        )
    pool = Split(np.concatenate([part.images[:] for part in parts]), np.concatenate([part.labels for part in parts]))
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in pool.images[:]]
    return pool, digests


def assign_pool(config: DatasetConfig, pool: Split, digests: Sequence[str]) -> np.ndarray:
    """The fold (n,) of each image of `pool_images`."""
    return assign_folds(digests, pool.labels, config.folds or 1, seed=0)


def take_fold(config: DatasetConfig, splits: Splits) -> Splits:
    """The splits of the fold that the config names; those of files, and of no fold, are as they should be.

    Of data in memory, the share of validation is that of the data set. Raises InputError if a class has too few images.
    """
    if config.folds is None or config.fold is None or splits.files is not None:
        return splits
    pool, digests = pool_images(splits)
    classes = splits.dataset_info.classes
    check_pool(
        dict(zip(classes, np.bincount(pool.labels, minlength=len(classes)).tolist(), strict=True)), config.folds, "data.folds"
    )
    folds = assign_pool(config, pool, digests)
    rest = np.flatnonzero(folds != config.fold)
    share = len(splits.val.labels) / len(pool.labels)
    in_train, in_val = hash_split(hash_keys([digests[i] for i in rest], "0"), pool.labels[rest], share)
    train, val, test = (pool.select(indices) for indices in (rest[in_train], rest[in_val], np.flatnonzero(folds == config.fold)))
    mean, std = channel_mean_std(np.asarray(train.images))
    dataset_info = dataclasses.replace(splits.dataset_info, mean=mean, std=std)
    note = describe_fold(config, len(test.labels), len(pool.labels), has_test=True)
    return Splits(train, val, test, dataset_info, (*splits.notes, note))


def describe_fold(config: DatasetConfig, test_images: int, pool_images: int, has_test: bool) -> str:
    """A note about the test split of a run of a cross-validation, for people."""
    what = f"the test split is fold {config.fold} of {config.folds}, counted from 0: {test_images:,} of {pool_images:,} images"
    return what + "; the test set of the data is not used" * has_test
