"""Soft orthogonality (Bansal et al., 2018, arXiv:1810.09102, section 3.1):  L ← L + λ Σ_W ‖W Wᵀ − I‖²_F.

W is a layer's weight with one row per output, (m, n); where m > n its columns are made orthonormal instead. The two norms
differ by the constant |m − n|, so the smaller Gram matrix is taken. The groups of a grouped convolution see different inputs
and count as layers of their own. As in the authors' code, the last layer takes part.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.types import LossInputs
from regulo.optim.components.param_groups import weight_matrices
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer


def matrices(model: nn.Module) -> list[Tensor]:
    """The trainable weights of linear, convolutional and attention layers, each as a stack of matrices (groups, m, n)."""
    found = weight_matrices(model).items()
    return [p.flatten(1).unflatten(0, (getattr(owner, "groups", 1), -1)) for p, owner in found]


def deviation(w: Tensor) -> Tensor:
    """Σ ‖W Wᵀ − I‖²_F, or with Wᵀ W if that is smaller, of a stack of matrices (groups, m, n): ()."""
    w = w.mT if w.shape[-2] > w.shape[-1] else w
    with torch.autocast(w.device.type, enabled=False):  # in bf16 the rounding of W Wᵀ would hide what is left of the difference
        return (w @ w.mT - torch.eye(w.shape[-2], dtype=w.dtype, device=w.device)).square().sum()


class Orthogonality(Regularizer):
    """Keep each layer close to a rotation, so that it neither shrinks nor stretches what passes."""

    reference: ClassVar[str] = "arXiv:1810.09102"
    strength_fields: ClassVar[tuple[str, ...]] = ("rate",)
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}

    rate: Rampable[NonNegative] = 1e-4
    """λ: 1e-4; the paper begins higher and comes down to 0 in the course of the run, which a ramp does"""

    def penalty(self, step: LossInputs) -> Tensor:
        return self.rate * torch.stack([deviation(w) for w in matrices(step.model)]).sum()
