"""ShakeDrop (Yamada et al., 2018, arXiv:1802.02375, equation 6): multiply a residual branch by noise with probability p_l, and
its gradient by other noise.

    forward   x + (b + α − b α) f(x)      b ~ Bernoulli(1 − p_l),   p_l = p · l / L for the branches l = 1 … L
    backward      (b + β − b β) ∂/∂f      α ~ U(−1, 1),  β ~ U(0, 1),   each drawn for each image

The paper multiplies the branch by E[b + α − b α] = 1 − p_l in inference. Here both factors are divided by it in training, and
inference is the identity: the same network, with the branches written as f / (1 − p_l).
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regulo.core.ranges import ProperShare
from regulo.core.schedule import Rampable, RampBuffer
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import require_sites
from regulo.regularizers.base import Regularizer


class ShakeFunction(torch.autograd.Function):
    """Multiplies by one factor in the forward pass and by another one in the backward pass; both have shape (B, 1, …)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forward_factor: Tensor, backward_factor: Tensor) -> Tensor:
        """The product with `forward_factor`."""
        ctx.save_for_backward(backward_factor)
        return x * forward_factor

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """The gradient times `backward_factor`."""
        (backward_factor,) = ctx.saved_tensors
        return grad * backward_factor, None, None


class ShakeBranch(nn.Module):
    """ShakeDrop on a branch (B, …), at p_l = `share` · `rate`."""

    def __init__(self, rate: float, share: float) -> None:
        super().__init__()
        self.rate, self.share = RampBuffer(rate), share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1 - self.share * self.rate.value
        b, alpha, beta = torch.rand(3, len(x), *[1] * (x.ndim - 1), device=x.device)
        forward_factor, backward_factor = (torch.where(b < keep, 1.0, noise) / keep for noise in (2 * alpha - 1, beta))
        return ShakeFunction.apply(x, forward_factor.to(x.dtype), backward_factor.to(x.dtype))


class ShakeDrop(Regularizer):
    """Multiply residual branches by noise, image by image, with different noise in the backward pass."""

    reference: ClassVar[str] = "arXiv:1802.02375"
    tags: ClassVar[frozenset[str]] = frozenset({"draws"})
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    incompatible: ClassVar[dict[str, str]] = {
        "stochastic_depth": "both drop the same residual branches, and ShakeDrop contains it (α = β = 0)",
    }
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05, {"p": Between(0.1, 0.5)})

    p: Rampable[ProperShare] = 0.5
    """p, the probability that the last branch gets noise; the paper's P_L = 1 − p is .5, for long runs of deep networks"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        branches = require_sites(model, "residual", "regularizer.shake_drop")
        for number, site in enumerate(branches, start=1):
            site.insert(ShakeBranch(self.p, number / len(branches)))
