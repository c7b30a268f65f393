"""Soft orthogonality (Bansal et al., 2018, arXiv:1810.09102, section 3.1):  L ← L + λ Σ_W ‖W Wᵀ − I‖²_F.

W (m, n) is the weight of a layer with one row per output; if m > n, its columns are made orthonormal instead. The two norms
differ by the constant |m − n|, so the smaller Gram matrix is used. The groups of a grouped convolution have different inputs, and
each counts as one layer. The last layer is included, as in the authors' code.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import LossInputs
from regulo.optim.components.param_groups import weight_matrices
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer


def weight_stacks(model: nn.Module) -> list[Tensor]:
    """The trainable weights of linear, convolutional and attention layers, each as a stack of matrices (groups, m, n)."""
    owners = weight_matrices(model)
    return [p.flatten(1).unflatten(0, (getattr(owner, "groups", 1), -1)) for p, owner in owners.items()]


def soft_orthogonality(w: Tensor) -> Tensor:
    """Σ ‖W Wᵀ − I‖²_F of a stack of matrices (groups, m, n), with Wᵀ W instead if that is smaller: ()."""
    w = w.mT if w.shape[-2] > w.shape[-1] else w
    with torch.autocast(w.device.type, enabled=False):  # in bf16 rounding would hide a small difference
        return (w @ w.mT - torch.eye(w.shape[-2], dtype=w.dtype, device=w.device)).square().sum()


class Orthogonality(Regularizer):
    """Keep each layer close to a rotation, which neither shrinks nor stretches its input."""

    reference: ClassVar[str] = "arXiv:1810.09102"
    strength_fields: ClassVar[tuple[str, ...]] = ("rate",)
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05, {"rate": Between(1e-5, 1e-3, log=True)})

    rate: Rampable[NonNegative] = 1e-4
    """λ: 1e-4; the paper begins with a higher value and lowers it to 0 during the run, as a ramp can do"""

    def penalty(self, inputs: LossInputs) -> Tensor:
        return self.rate * torch.stack([soft_orthogonality(w) for w in weight_stacks(inputs.model)]).sum()
