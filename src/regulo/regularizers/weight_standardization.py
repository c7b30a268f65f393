"""Weight standardization (Qiao et al., 2019, arXiv:1903.10520, equations 8 and 9): use each filter of a convolution with
mean 0 and variance 1.

    Ŵ_o = (W_o − μ_o) / √(σ²_o + ε),   μ, σ² over the inputs and positions of the filter W_o of output channel o

The gradient passes through the standardization; W itself is stored, decayed and averaged. The scale of W has no effect, so a
normalization should follow each convolution. The paper made it for group normalization.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.core.ranges import Positive
from regulo.core.search_space import SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import replace_module
from regulo.regularizers.base import Regularizer


def standardize(weight: Tensor, eps: float) -> Tensor:
    """Ŵ of filters W (O, I, h, w). ε is under the root, because the gradient of the root is infinite at 0."""
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    return (weight - mean) * (variance + eps).rsqrt()


CONV_FIELDS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")


class StandardizedConv2d(nn.Conv2d):
    """A convolution of maps (B, C, H, W) with the parameters of an existing one, whose filters it standardizes."""

    def __init__(self, conv: nn.Conv2d, eps: float) -> None:
        fields: Any = {name: getattr(conv, name) for name in CONV_FIELDS}
        super().__init__(**fields, bias=False, device="meta")
        self.weight, self.bias, self.eps = conv.weight, conv.bias, eps

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, standardize(self.weight, self.eps), self.bias)


class WeightStandardization(Regularizer):
    """Standardize the filters of every convolution and patch embedding, except filters of a single weight (1 × 1 depthwise)."""

    reference: ClassVar[str] = "arXiv:1903.10520"
    incompatible: ClassVar[dict[str, str]] = dict.fromkeys(
        ("max_norm", "orthogonality"), "it acts on the raw weights, and the model uses the standardized ones"
    )
    search_space: ClassVar[SearchSpace] = SearchSpace(0.1)

    eps: Positive = 1e-5
    """ε, for filters that hardly vary"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        convs = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.weight[0].numel() > 1]
        if not convs:
            what = "this model has no convolution with filters to standardize"
            raise InputError(Problem("regularizer.weight_standardization", what, "~regularizer.weight_standardization"))
        for name, conv in convs:
            replace_module(model, name, StandardizedConv2d(conv, self.eps))
