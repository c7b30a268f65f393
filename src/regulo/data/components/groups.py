"""Splits by group: all images of one patient, one plant or one video are in the same split."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from regulo.data.base import data_error
from regulo.data.components.subsets import hash_keys


def find_groups(pattern: str, paths: Iterable[str]) -> dict[str, str]:
    """The group of each path: what the pattern's group `group`, or else its first one, matches. Raises InputError."""
    expression = re.compile(pattern)
    name = "group" if "group" in expression.groupindex else 1
    matches = {path: expression.search(path) for path in paths}
    groups = {path: match[name] for path, match in matches.items() if match and match[name]}
    if others := [path for path in matches if path not in groups]:
        what = f"{pattern!r} finds no group in {len(others):,} of {len(matches):,} paths, such as {others[0]!r}"
        raise data_error("data.group_pattern", what, "it is searched in the path relative to data.root; each image needs a group")
    return groups


def check_group_pattern(pattern: str) -> str:
    """Return the pattern. Raises ValueError if it is no regular expression with a group."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if not expression.groups:
        raise ValueError(f"{pattern!r} has no group: put what names the group into parentheses")
    return pattern


def group_split(groups: Sequence[str], labels: np.ndarray, fraction: float, salt: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices (rest, subset): each group is in one of them, and `subset` has about fraction · n_k images of every class k.

    A class with two groups or more is in both, if its groups have no other class; a class with one group is in `rest`. If each
    group has one class, the number of images differs from fraction · n_k by at most the size of the largest group of the class.
    Groups are taken in the order of their hashes: a new group moves few others, or none.
    """
    return _GroupSplit(groups, labels, fraction, salt).split()


class _GroupSplit:
    """The state of a split while groups move from `rest` into `subset`."""

    def __init__(self, groups: Sequence[str], labels: np.ndarray, fraction: float, salt: str) -> None:
        names, self.group_of = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
        class_of = np.unique(labels, return_inverse=True)[1]
        self.class_sizes = np.bincount(class_of)
        pairs, self.counts = np.unique(self.group_of * len(self.class_sizes) + class_of, return_counts=True)
        owners, self.classes = np.divmod(pairs, len(self.class_sizes))
        self.starts = np.searchsorted(owners, np.arange(len(names) + 1))
        self.deficit = fraction * self.class_sizes  # images of each class that `subset` lacks; below zero: it has too many
        self.num_groups = np.bincount(self.classes)  # of each class
        self.groups_left = self.num_groups.copy()  # those in `rest`
        self.in_subset = np.zeros(len(names), bool)
        self.order = np.lexsort((names, hash_keys(names.tolist(), salt)))

    def split(self) -> tuple[np.ndarray, np.ndarray]:
        """Move groups, and return the indices of `rest` and of `subset`."""
        for group in self.order:  # what fits
            classes, counts = self._content(group)
            if (counts <= self.deficit[classes]).all():
                self._take(group)
        for group in self.order:  # what brings the classes nearer to their shares, though one may then have too many
            classes, counts = self._content(group)
            lack, sizes = self.deficit[classes], self.class_sizes[classes]
            if not self.in_subset[group] and (np.abs(lack - counts) / sizes).sum() < (np.abs(lack) / sizes).sum():
                self._take(group)
        for label in np.flatnonzero(self.groups_left == self.num_groups):  # a class that has none yet gets its smallest group
            owners = [group for group in self.order if label in self._content(group)[0]]
            for group in sorted(owners, key=lambda group: self._content(group)[1].sum()):
                if self._take(group):
                    break
        in_subset = self.in_subset[self.group_of]
        return np.flatnonzero(~in_subset), np.flatnonzero(in_subset)

    def _content(self, group: int) -> tuple[np.ndarray, np.ndarray]:
        """The classes of a group, and how many images of each it has."""
        part = slice(self.starts[group], self.starts[group + 1])
        return self.classes[part], self.counts[part]

    def _take(self, group: int) -> bool:
        """Move a group into `subset`, unless it is the last one of a class."""
        classes, counts = self._content(group)
        if (self.groups_left[classes] > 1).all():
            self.in_subset[group] = True
            self.groups_left[classes] -= 1
            self.deficit[classes] -= counts
        return bool(self.in_subset[group])
