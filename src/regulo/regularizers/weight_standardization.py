"""Weight standardization (Qiao et al., 2019, arXiv:1903.10520, equations 8 and 9): each filter of a convolution has mean 0 and
variance 1 wherever it is used.

    Ŵ_o = (W_o − μ_o) / √(σ²_o + ε),   μ, σ² over the inputs and places of the filter W_o of output channel o

The gradient goes through the standardization; what is stored, decayed and averaged is W. The scale of W no longer matters, so a
normalisation should follow each convolution: it is made for group normalisation.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.core.ranges import Positive
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import replace_module
from regulo.regularizers.base import Regularizer


class WeightStandardization(Regularizer):
    """Standardise the filters of every convolution, patch embeddings among them, but not single weights (1 × 1 depthwise)."""

    reference: ClassVar[str] = "arXiv:1903.10520"
    incompatible: ClassVar[dict[str, str]] = dict.fromkeys(
        ("max_norm", "orthogonality"), "it acts on the raw weights, whose size and place the standardized ones do not show"
    )

    eps: Positive = 1e-5
    """ε, for filters that hardly vary"""

    def surgery(self, model: nn.Module, facts: DatasetInfo) -> None:
        convs = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.weight[0].numel() > 1]
        if not convs:
            what = "this model has no convolution with filters to standardise"
            raise InputError(Problem("regularizer.weight_standardization", what, "~regularizer.weight_standardization"))
        for name, conv in convs:
            replace_module(model, name, StandardizedConv2d(conv, self.eps))


FIELDS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")


class StandardizedConv2d(nn.Conv2d):
    """Takes the place, and the parameters, of a convolution."""

    def __init__(self, conv: nn.Conv2d, eps: float) -> None:
        fields: Any = {name: getattr(conv, name) for name in FIELDS}
        super().__init__(**fields, bias=False, device="meta")
        self.weight, self.bias, self.eps = conv.weight, conv.bias, eps

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, standardize(self.weight, self.eps), self.bias)


def standardize(weight: Tensor, eps: float) -> Tensor:
    """Filters (O, I, h, w), each with mean 0 and variance 1. ε stands under the root, whose gradient is infinite at 0."""
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    return (weight - mean) * (variance + eps).rsqrt()
