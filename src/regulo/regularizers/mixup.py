"""mixup (Zhang et al., 2018, arXiv:1710.09412): train on convex combinations of pairs.

    λ ~ Beta(α, α);  x̃ = λ x_i + (1 − λ) x_j;  ỹ = λ y_i + (1 − λ) y_j

j is the partner of image i in the batch.
"""

from typing import ClassVar

import numpy as np
from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.components.beta_mixing import BetaMixing
from regulo.regularizers.components.mixing import Mode, blend, num_draws, per_image


def mixup(images: Tensor, targets: Tensor, lam: np.ndarray, mode: Mode) -> tuple[Tensor, Tensor]:
    """x̃ and ỹ from images (B, C, H, W), targets (B, K) and λ (1,) for `batch`, else (B,)."""
    return blend(images, lam, mode), blend(targets, lam, mode)


class Mixup(BetaMixing):
    """Mix each image and its target with those of another image of the batch."""

    reference: ClassVar[str] = "arXiv:1710.09412"
    search_space: ClassVar[SearchSpace] = SearchSpace(0.4, {"alpha": Between(0.1, 1.0, log=True), "p": Between(0.2, 1.0)})

    alpha: Rampable[NonNegative] = 0.2
    """α of λ ~ Beta(α, α), 0 mixes nothing: .1 to .2 for ResNet-50, .8 for ViT, 1 on CIFAR"""
    mode: Mode = "batch"
    """one λ for the whole batch, for each pair, or for each image (element)"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        n = len(images)
        lam = self.draw_lambda(generator, num_draws(self.mode, n))
        if lam is None:
            return images, targets
        return mixup(images, targets, per_image(lam, self.mode, n), self.mode)
