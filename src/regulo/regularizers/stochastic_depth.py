"""Stochastic depth (Huang et al., 2016, arXiv:1603.09382): in training, drop whole residual branches.

    x ← x + b_l f_l(x) / (1 − p_l),   b_l ~ Bernoulli(1 − p_l) for each image,   p_l = p · l / L   (equation 4)

for the branches l = 1 … L from input to output: early branches, which all others need, are dropped least. In inference no branch
is dropped. The paper does not divide, and multiplies by 1 − p_l in inference; the expectation is the same.
"""

from typing import ClassVar, Literal

from torch import Tensor, nn

from regulo.core.ranges import ProperShare
from regulo.core.schedule import Rampable, RampBuffer, inverted_dropout
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import require_sites
from regulo.regularizers.base import Regularizer


class DropPath(nn.Module):
    """b f / (1 − p_l) on a branch f (B, …), with p_l = `share` · `rate`; the identity in inference."""

    def __init__(self, rate: float, share: float) -> None:
        super().__init__()
        self.rate, self.share = RampBuffer(rate), share

    def forward(self, x: Tensor) -> Tensor:
        p = self.share * self.rate.value if self.training else None
        return inverted_dropout(x, p, (len(x), *[1] * (x.ndim - 1)))


class StochasticDepth(Regularizer):
    """Drop the branches of residual blocks, image by image."""

    reference: ClassVar[str] = "arXiv:1603.09382; torchvision.ops.stochastic_depth"
    tags: ClassVar[frozenset[str]] = frozenset({"draws"})
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.3, {"p": Between(0.02, 0.3)})

    p: Rampable[ProperShare] = 0.1
    """p of the last branch: .05 for ResNet-50 and ViT-S, .1 to .5 for ConvNeXt T to B, .5 for the paper's 110 layers"""

    shape: Literal["linear", "uniform"] = "linear"
    """linear: p_l = p · l / L; uniform: p everywhere, as in DeiT-III"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        branches = require_sites(model, "residual", "regularizer.stochastic_depth")
        for number, site in enumerate(branches, start=1):
            site.insert(DropPath(self.p, number / len(branches) if self.shape == "linear" else 1.0))
