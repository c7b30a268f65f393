"""Label smoothing (Szegedy et al., 2016, arXiv:1512.00567, section 7):  ỹ = (1 − ε) y + ε / K.

It is linear in y, so it gives the same targets before and after mixing. The validation loss is never smoothed.
"""

from typing import ClassVar

import numpy as np
from torch import Tensor

from regulo.core.ranges import ProperShare
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.base import Regularizer


def smooth(targets: Tensor, epsilon: float) -> Tensor:
    """ỹ of targets (B, K) whose rows sum to one: (B, K), with the same row sums."""
    return targets.mul(1 - epsilon).add_(epsilon / targets.shape[1])


class LabelSmoothing(Regularizer):
    """Give every class ε / K of the target."""

    reference: ClassVar[str] = "arXiv:1512.00567"
    order: ClassVar[int] = 10
    strength_fields: ClassVar[tuple[str, ...]] = ("epsilon",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.5, {"epsilon": Between(0.02, 0.2)})

    epsilon: Rampable[ProperShare] = 0.1
    """ε, the share of the target that is spread evenly over the classes"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        return images, smooth(targets, self.epsilon)
