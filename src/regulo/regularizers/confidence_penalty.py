"""Confidence penalty (Pereyra et al., 2017, arXiv:1701.06548, equation 2):  L ← L − β H(p),  H(p) = −Σ_k p_k log p_k.

It is label smoothing with the divergence the other way round: smoothing is KL(u ‖ p), this is KL(p ‖ u), both up to constants.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.types import LossInputs
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.entropy import entropy


class ConfidencePenalty(Regularizer):
    """Reward doubt: the entropy of the answers is taken off the loss."""

    reference: ClassVar[str] = "arXiv:1701.06548"
    strength_fields: ClassVar[tuple[str, ...]] = ("beta",)

    beta: Rampable[NonNegative] = 0.1
    """β, the price of a nat of confidence: .1 on images, up to 2 on text"""

    def penalty(self, step: LossInputs) -> Tensor:
        return -self.beta * entropy(step.views[0].float().log_softmax(1)).mean()
