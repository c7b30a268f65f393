"""Focal loss (Lin et al., 2017, arXiv:1708.02002, equation 4), over the softmax and on soft targets:

    L = −Σ_k t_k (1 − p_k)^γ log p_k

Images whose class is already predicted with high probability count little. γ = 0 is cross-entropy. The α of the paper, a weight
per class, is left out: it corrects for rare classes and does not regularize.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import soft_cross_entropy
from regulo.regularizers.base import Regularizer


def focal_loss(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """L of each image: logits (B, K) and soft targets (B, K) → (B,)."""
    if gamma == 0:
        return soft_cross_entropy(logits, targets)
    log_p = logits.log_softmax(1)
    one_minus_p = -log_p.expm1()  # exact also where p is nearly 1
    one_minus_p = one_minus_p.clamp_min(1e-12)  # for γ < 1 the slope of its power is infinite at 0, and 0 · ∞ is NaN
    return -(targets * one_minus_p.pow(gamma) * log_p).sum(1)


class FocalLoss(Regularizer):
    """Give an image less weight if the network already predicts its class with high probability."""

    reference: ClassVar[str] = "arXiv:1708.02002"
    strength_fields: ClassVar[tuple[str, ...]] = ("gamma",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05, {"gamma": Between(0.5, 3.0)})

    gamma: Rampable[NonNegative] = 2.0
    """γ, the focus: .5 to 5, 2 in the paper; 0 is cross-entropy"""

    def criterion(self, logits: Tensor, targets: Tensor, class_counts: Tensor) -> Tensor:
        return focal_loss(logits, targets, self.gamma)
