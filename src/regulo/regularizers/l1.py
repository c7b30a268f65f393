"""L1 penalty, the lasso (Tibshirani, 1996, JRSS B 58:267):  L ← L + λ Σ |θ|  over the weights of linear and convolutional layers.

Its gradient λ sign(θ) pulls all weights equally hard, so that small ones end near zero. Following the gradient they jitter
around zero with steps of ηλ, and are not exactly zero; under Adam the pull is divided by the gradient's own scale, as for l2.
"""

from typing import ClassVar

import torch
from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.types import Step
from regulo.optim.components.param_groups import weights
from regulo.regularizers.base import SHARDED, Regularizer


class L1(Regularizer):
    """Pull every weight towards zero, small ones as hard as large ones."""

    source: ClassVar[str] = "JRSS B 58:267"
    scales: ClassVar[tuple[str, ...]] = ("rate",)
    refuses: ClassVar[dict[str, str]] = {"fsdp": SHARDED}

    rate: Rampable[NonNegative] = 1e-5
    """λ: 1e-6 to 1e-4; the penalty is a sum, so larger networks want a smaller one"""

    def penalty(self, step: Step) -> Tensor:
        sizes = torch._foreach_abs(list(weights(step.model)))  # a norm of order 1 would add up millions of numbers one by one
        return self.rate * torch.stack([size.sum() for size in sizes]).sum()
