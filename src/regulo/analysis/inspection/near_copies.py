"""Pairs of images that look alike, by their perceptual hashes."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

BITS, DISTANCE = 64, 4
"""of a hash; and by how many of them two images may differ that count as alike. Of 396 photos of ants and bees no two differ by
12 or fewer; a photo saved smaller or in another quality differs by 0 to 4"""


MAX_PAIRS = 10_000
"""after which the search ends: then the images are alike in a way that a list of pairs does not explain, such as empty ones"""


def find_near_pairs(hashes: Sequence[int], distance: int = DISTANCE) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, of hashes that differ in at most `distance` bits, at most about `MAX_PAIRS` of them.

    If two hashes differ in d bits, one of d + 1 parts of them is equal: only images that share a part are compared.
    """
    values = np.array(hashes, np.uint64)
    edges = np.linspace(0, BITS, distance + 2).astype(int)
    pairs = set[tuple[int, int]]()
    for low, high in itertools.pairwise(edges):
        parts = (values >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        for group in _groups(parts):
            for pair in _compare(values, group, distance):
                pairs.add(pair)
                if len(pairs) == MAX_PAIRS:
                    return sorted(pairs)
    return sorted(pairs)


def _groups(parts: np.ndarray) -> Iterator[np.ndarray]:
    """The indices of equal values, of each value that is there more than once."""
    order = np.argsort(parts, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1):
        if len(group) > 1:
            yield group


def _compare(values: np.ndarray, group: np.ndarray, distance: int) -> Iterator[tuple[int, int]]:
    for k, i in enumerate(group[:-1]):
        others = group[k + 1 :]
        for j in others[np.bitwise_count(values[others] ^ values[i]) <= distance]:
            yield (int(min(i, j)), int(max(i, j)))
