"""Class-balanced sampling (Kang et al., 2020, arXiv:1910.09217, equation 1, with q = 1 − power).

    share of class k in an epoch  ∝  n_k^(1 − power)

n_k is the number of training images of class k. An epoch is as long as without it: it visits only some images of large classes,
others in each epoch, and repeats those of small classes. Within a class, every image is visited before one is repeated, so no
image has two visits more than another. Each copy of an image gets its own augmentation.
"""

from typing import ClassVar

import numpy as np

from regulo.core.ranges import Share
from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.components.balance import BalancingTechnique


def draw_visits(class_counts: np.ndarray, power: float, generator: np.random.Generator) -> np.ndarray:
    """Visits of each class (K,) in an epoch of Σ_k n_k images: the exact share, rounded down or up at random."""
    shares = np.where(class_counts, np.maximum(class_counts, 1) ** (1 - power), 0)
    edges = np.cumsum(class_counts.sum() * shares / shares.sum()) + generator.random()
    edges[-1] = class_counts.sum()  # exactly
    return np.diff(np.floor(edges).astype(int), prepend=0)


def balance(indices: np.ndarray, labels: np.ndarray, power: float, generator: np.random.Generator) -> np.ndarray:
    """Shuffled indices (n,) → indices (n,) in random order, with the share of each class. `labels` (n,) are by index."""
    class_counts = np.bincount(labels[indices])
    by_class = np.split(indices[np.argsort(labels[indices], kind="stable")], np.cumsum(class_counts)[:-1])
    visits = draw_visits(class_counts, power, generator)
    return generator.permutation(np.concatenate([np.resize(part, n) for part, n in zip(by_class, visits, strict=True)]))


class BalancedSampling(BalancingTechnique):
    """Show all classes equally often: rare ones are repeated, frequent ones are shown in part."""

    reference: ClassVar[str] = "arXiv:1910.09217"
    order: ClassVar[int] = -10
    strength_fields: ClassVar[tuple[str, ...]] = ("power",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.4, {"power": Between(0.3, 1.0)}, condition="imbalanced classes")

    power: Share = 1.0
    """0: classes are shown as often as they occur; 1: equally often; .5 is halfway (square root)"""

    def sequence(self, indices: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return balance(indices, labels, self.power, generator) if self.power else indices
