"""Focal loss (Lin et al., 2017, arXiv:1708.02002, equation 4), over the softmax and on soft targets:

    L = −Σ_k t_k (1 − p_k)^γ log p_k

What the network already knows counts little. γ = 0 is cross-entropy. The paper's α, a weight per class, is left out: it
corrects for rare classes and does not regularize.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.types import soft_cross_entropy
from regulo.regularizers.base import Regularizer


def focal_loss(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """The focal loss of each image: (B, K) logits and soft targets → (B,)."""
    if gamma == 0:
        return soft_cross_entropy(logits, targets)
    log_p = logits.log_softmax(1)
    doubt = -log_p.expm1()  # 1 − p, exact also where p is nearly 1
    doubt = doubt.clamp_min(1e-12)  # the slope of doubt^γ is infinite at 0 if γ < 1, and 0 · ∞ is not a number
    return -(targets * doubt.pow(gamma) * log_p).sum(1)


class FocalLoss(Regularizer):
    """Weigh an image less the surer the network already is of its class."""

    reference: ClassVar[str] = "arXiv:1708.02002"
    strength_fields: ClassVar[tuple[str, ...]] = ("gamma",)

    gamma: Rampable[NonNegative] = 2.0
    """γ, the focus: .5 to 5, 2 in the paper; 0 is cross-entropy"""

    def criterion(self, logits: Tensor, targets: Tensor) -> Tensor:
        return focal_loss(logits, targets, self.gamma)
