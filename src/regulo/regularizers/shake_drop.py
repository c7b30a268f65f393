"""ShakeDrop (Yamada et al., 2018, arXiv:1802.02375, equation 6): a residual branch is now and then multiplied by noise, and its
gradient by other noise.

    forward   x + (b + α − b α) f(x)      b ~ Bernoulli(1 − p_l),   p_l = p · l / L for the branches l = 1 … L
    backward      (b + β − b β) ∂/∂f      α ~ U(−1, 1),  β ~ U(0, 1),   each drawn for each image

Both factors are divided here by E[b + α − b α] = 1 − p_l, by which the paper multiplies the branch in inference: that is the
paper's network with its branches written as f / (1 − p_l), and inference is the identity.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from regulo.core.ranges import ProperShare
from regulo.core.schedule import Rampable, RampBuffer
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import require_sites
from regulo.regularizers.base import Regularizer


class ShakeDrop(Regularizer):
    """Disturb residual branches forward and backward, image by image."""

    reference: ClassVar[str] = "arXiv:1802.02375"
    tags: ClassVar[frozenset[str]] = frozenset({"draws"})
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    incompatible: ClassVar[dict[str, str]] = {
        "stochastic_depth": "both drop the same residual branches, and ShakeDrop contains it (α = β = 0)",
    }

    p: Rampable[ProperShare] = 0.5
    """p, the probability that the last branch is shaken; the paper's P_L = 1 − p is .5, for long runs of deep networks"""

    def surgery(self, model: nn.Module, facts: DatasetInfo) -> None:
        branches = require_sites(model, "residual", "regularizer.shake_drop")
        for place, site in enumerate(branches, start=1):
            site.insert(ShakeBranch(self.p, place / len(branches)))


class ShakeBranch(nn.Module):
    """Shakes a branch (B, …) for some images, at `share` of a rate."""

    def __init__(self, rate: float, share: float) -> None:
        super().__init__()
        self.dial, self.share = RampBuffer(rate), share

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1 - self.share * self.dial.value
        b, alpha, beta = torch.rand(3, len(x), *[1] * (x.ndim - 1), device=x.device)
        forwards, backwards = (torch.where(b < keep, 1.0, noise) / keep for noise in (2 * alpha - 1, beta))
        return Shake.apply(x, forwards.to(x.dtype), backwards.to(x.dtype))


class Shake(torch.autograd.Function):
    """x · forwards, whose gradient is taken to be · backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forwards: Tensor, backwards: Tensor) -> Tensor:
        """Values."""
        ctx.save_for_backward(backwards)
        return x * forwards

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Gradients."""
        (backwards,) = ctx.saved_tensors
        return grad * backwards, None, None
