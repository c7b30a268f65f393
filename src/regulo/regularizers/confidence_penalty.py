"""Confidence penalty (Pereyra et al., 2017, arXiv:1701.06548, equation 2):  L ← L − β H(p),  H(p) = −Σ_k p_k log p_k.

It is label smoothing with the divergence reversed: smoothing is KL(u ‖ p), this is KL(p ‖ u), both up to constants,
with the uniform distribution u.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import LossInputs
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.entropy import entropy


def confidence_penalty(logits: Tensor, beta: float) -> Tensor:
    """−β H(p), as a mean over the batch: logits (B, K) → ()."""
    return -beta * entropy(logits.float().log_softmax(1)).mean()


class ConfidencePenalty(Regularizer):
    """Reward uncertain predictions: their entropy is subtracted from the loss."""

    reference: ClassVar[str] = "arXiv:1701.06548"
    strength_fields: ClassVar[tuple[str, ...]] = ("beta",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.1, {"beta": Between(0.03, 0.3, log=True)})

    beta: Rampable[NonNegative] = 0.1
    """β, the weight of the entropy: .1 on images, up to 2 on text"""

    def penalty(self, inputs: LossInputs) -> Tensor:
        return confidence_penalty(inputs.views[0], self.beta)
