"""R-Drop (Liang et al., 2021, arXiv:2106.14448, equations 1 to 4): two passes with different dropout masks should
agree.

    L = CE₁ + CE₂ + α ½ [KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁)]

CE₁ is the data loss of the step; the other terms are added here. If the run uses another loss, it replaces CE. The second pass
does not change the running statistics of BatchNorm. It doubles the cost of a step, and the size of the gradient.

The passes differ only through random layers, such as dropout and stochastic depth. Without one, p₁ = p₂ and nothing is
regularized.
"""

from typing import ClassVar

from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import LossInputs
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.replay import frozen_bn_stats


def symmetric_kl(first: Tensor, second: Tensor) -> Tensor:
    """½ [KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁)] = ½ Σ_k (p₁ − p₂) (log p₁ − log p₂) for each image, in nats: logits (B, K) each → (B,)."""
    log_p1, log_p2 = first.log_softmax(1), second.log_softmax(1)
    return ((log_p1.exp() - log_p2.exp()) * (log_p1 - log_p2)).sum(1) / 2


class RDrop(Regularizer):
    """Classify the batch a second time, and pull the two predictions together."""

    reference: ClassVar[str] = "arXiv:2106.14448"
    strength_fields: ClassVar[tuple[str, ...]] = ("alpha",)
    requires: ClassVar[dict[str, str]] = {"draws": "without random layers, the two passes are the same"}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.1, {"alpha": Between(0.3, 3.0, log=True)})

    alpha: Rampable[NonNegative] = 1.0
    """α, the weight of the divergence: .6 for a ViT, 1 to 5 on text; at 0 there is no second pass"""

    def penalty(self, inputs: LossInputs) -> Tensor:
        first = inputs.views[0].float()
        if self.alpha == 0:
            return first.new_zeros(())
        with frozen_bn_stats(inputs.model):
            second = inputs.model(inputs.images[: len(inputs.targets)]).float()
        return inputs.criterion(second, inputs.targets).mean() + self.alpha * symmetric_kl(first, second).mean()
