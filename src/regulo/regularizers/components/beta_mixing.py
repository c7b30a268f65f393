"""The first step of mixup, cutmix and manifold mixup: whether a batch is mixed, and with which λ."""

from typing import ClassVar

import numpy as np

from regulo.core.ranges import NonNegative, Share
from regulo.core.schedule import Rampable
from regulo.regularizers.base import Regularizer


class BetaMixing(Regularizer):
    """Base of techniques that mix a batch with probability p and weights λ ~ Beta(α, α)."""

    one_of: ClassVar[str] = "mixing"
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)

    alpha: Rampable[NonNegative] = 1.0
    """α of λ ~ Beta(α, α); 0 mixes nothing"""
    p: Rampable[Share] = 1.0
    """probability that a batch is mixed"""

    def draw_lambda(self, generator: np.random.Generator, count: int = 1) -> np.ndarray | None:
        """λ (count,) in [0, 1] for this batch, or None if the batch is not mixed."""
        if generator.random() >= self.p or self.alpha == 0:
            return None
        return generator.beta(self.alpha, self.alpha, count)
