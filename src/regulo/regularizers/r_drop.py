"""R-Drop (Liang et al., 2021, arXiv:2106.14448, equations 1 to 4): two passes with different dropout masks shall agree.

    L = CE₁ + CE₂ + α ½ [KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁)]

CE₁ is the loss of the step itself; the rest is added here, with whatever loss the run has in place of CE. The second pass is
a repetition: BatchNorm's running statistics see every image once. It doubles the cost of a step, and the size of the gradient.

The passes differ only through layers that draw: dropout, stochastic depth and their kind. Without one, p₁ = p₂ and nothing is
regularized.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.types import LossInputs
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.replay import frozen_bn_stats


def disagreement(first: Tensor, second: Tensor) -> Tensor:
    """½ [KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁)] = ½ Σ_k (p₁ − p₂) (log p₁ − log p₂) of logits (B, K): (B,)."""
    one, two = first.log_softmax(1), second.log_softmax(1)
    return ((one.exp() - two.exp()) * (one - two)).sum(1) / 2


class RDrop(Regularizer):
    """Classify the batch a second time, and draw both answers together."""

    reference: ClassVar[str] = "arXiv:2106.14448"
    strength_fields: ClassVar[tuple[str, ...]] = ("alpha",)
    requires: ClassVar[dict[str, str]] = {"draws": "two passes of a network in which nothing draws are the same"}

    alpha: Rampable[NonNegative] = 1.0
    """α, the weight of the disagreement: .6 for a ViT, 1 to 5 on text; at 0 there is no second pass"""

    def penalty(self, step: LossInputs) -> Tensor:
        first = step.views[0].float()
        if self.alpha == 0:
            return first.new_zeros(())
        with frozen_bn_stats(step.model):
            second = step.model(step.images[: len(step.targets)]).float()
        return step.criterion(second, step.targets).mean() + self.alpha * disagreement(first, second).mean()
