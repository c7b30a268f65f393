"""L1 penalty, the lasso (Tibshirani, 1996, JRSS B 58:267):  L ← L + λ Σ |θ|  over the weights of linear and convolutional layers.

Its gradient λ sign(θ) pulls all weights equally hard, so that small ones end near zero. Following the gradient they jitter
around zero with steps of ηλ, and are not exactly zero; under Adam the pull is divided by the gradient's own scale, as for l2.
"""

from typing import ClassVar

import torch
from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.types import LossInputs
from regulo.optim.components.param_groups import weight_matrices
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer


class L1(Regularizer):
    """Pull every weight towards zero, small ones as hard as large ones."""

    reference: ClassVar[str] = "JRSS B 58:267"
    strength_fields: ClassVar[tuple[str, ...]] = ("rate",)
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}

    rate: Rampable[NonNegative] = 1e-5
    """λ: 1e-6 to 1e-4; the penalty is a sum, so larger networks want a smaller one"""

    def penalty(self, step: LossInputs) -> Tensor:
        sizes = torch._foreach_abs(
            list(weight_matrices(step.model))
        )  # a norm of order 1 would add up millions of numbers one by one
        return self.rate * torch.stack([size.sum() for size in sizes]).sum()
