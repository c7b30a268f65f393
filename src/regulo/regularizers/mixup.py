"""mixup (Zhang et al., 2018, arXiv:1710.09412): train on convex pairs.

    λ ~ Beta(α, α);  x̃ = λ x_i + (1 − λ) x_j;  ỹ = λ y_i + (1 − λ) y_j

The partner j is the next image of the batch, which the sampler has shuffled.
"""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from regulo.regularizers.base import Regularizer


class Mixup(Regularizer):
    """Mix each image and its target with another one of the batch."""

    source: ClassVar[str] = "arXiv:1710.09412"
    turns: ClassVar[str] = "mixing"

    alpha: Annotated[float, Field(gt=0)] = 0.2
    """α of λ ~ Beta(α, α): .1 to .2 for ResNet-50, .8 for ViT, 1 on CIFAR"""
    p: Annotated[float, Field(ge=0, le=1)] = 1.0
    """probability that a batch is mixed"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        if generator.random() >= self.p:
            return images, targets
        lam = generator.beta(self.alpha, self.alpha)
        return mixup(images, lam), mixup(targets, lam)


def mixup(values: Tensor, lam: float) -> Tensor:
    """λ v_i + (1 − λ) v_{i−1}, cyclic over the first dimension."""
    return values.mul(lam).add_(values.roll(1, 0), alpha=1 - lam)
