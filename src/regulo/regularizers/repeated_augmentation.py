"""Repeated augmentation (Hoffer et al., 2020, arXiv:1901.09335; Berman et al., 2019, arXiv:1902.05509).

    i₁ i₂ i₃ …  →  i₁ i₁ i₁ i₂ i₂ i₂ …   cut to the length of the epoch, with r = `repeats` copies of each image

A batch has several copies of an image, each with a different augmentation. This lowers the part of the variance of the gradient
that comes from the augmentation. An epoch is as long as without it, and visits 1 / r of the images.
"""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.base import Regularizer


def repeat(indices: np.ndarray, repeats: int) -> np.ndarray:
    """Each index `repeats` times in a row, cut to the same length: (n,) → (n,)."""
    return np.repeat(indices, repeats)[: len(indices)]


class RepeatedAugmentation(Regularizer):
    """Visit each image several times in a row; several devices share the copies."""

    reference: ClassVar[str] = "arXiv:1901.09335; arXiv:1902.05509"
    requires: ClassVar[dict[str, str]] = {"augments": "without augmentation, all copies of an image have the same pixels"}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05, {"repeats": Between(2, 4)})

    repeats: Annotated[int, Field(ge=1, le=100)] = 3
    """visits of each image in a row, 1: no repetition; 3 for DeiT, 2 to 32 in the paper"""

    def sequence(self, indices: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return repeat(indices, self.repeats)
