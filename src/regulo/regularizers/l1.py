"""L1 penalty, the lasso (Tibshirani, 1996, JRSS B 58:267):  L ← L + λ Σ |θ|  over the weights of linear and convolutional layers.

Its gradient λ sign(θ) has the same size for all weights, so that small weights end near zero. They are not exactly zero: with
steps of ηλ they jump around it. Under Adam this gradient is divided by the scale of the whole gradient, as for l2.
"""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import LossInputs
from regulo.optim.components.param_groups import weight_matrices
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer


def l1_norm(weights: Iterable[Tensor]) -> Tensor:
    """Σ |θ| of all weights together: ()."""
    # torch._foreach_norm of order 1 would be shorter, but adds up millions of numbers one by one
    return torch.stack([size.sum() for size in torch._foreach_abs(list(weights))]).sum()


class L1(Regularizer):
    """Pull every weight towards zero, small weights as strongly as large ones."""

    reference: ClassVar[str] = "JRSS B 58:267"
    strength_fields: ClassVar[tuple[str, ...]] = ("rate",)
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05, {"rate": Between(1e-6, 1e-4, log=True)})

    rate: Rampable[NonNegative] = 1e-5
    """λ: 1e-6 to 1e-4; the penalty is a sum, so larger networks need a smaller λ"""

    def penalty(self, inputs: LossInputs) -> Tensor:
        return self.rate * l1_norm(weight_matrices(inputs.model))
