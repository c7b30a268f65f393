"""Sharpness-aware minimization (Foret et al., 2021, arXiv:2010.01412, algorithm 1), and its adaptive form ASAM (Kwon et al.,
2021, arXiv:2102.11600, algorithm 1).

    g = ∇L(θ);   ε = ρ T² g / ‖T g‖  with T = 1, adaptive: T = |θ| + η;   step with ∇L(θ + ε), taken from θ

Two forward and backward passes per step. The second one leaves no trace in BatchNorm's statistics, and the loss that is
logged is that of the first, at θ.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import nn

from regulo.core.ranges import NonNegative
from regulo.core.rng import StepContext
from regulo.core.schedule import Rampable
from regulo.optim.components.wrapper import Closure, OptimizerWrapper
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer
from regulo.regularizers.components.replay import frozen_bn_stats


class SAM(Regularizer):
    """Step along the gradient of the worst point nearby."""

    reference: ClassVar[str] = "arXiv:2010.01412; arXiv:2102.11600"
    order: ClassVar[int] = 20
    strength_fields: ClassVar[tuple[str, ...]] = ("rho",)
    incompatible: ClassVar[dict[str, str]] = {
        "fsdp": WHY_NOT_FSDP,
        "16-mixed": "the gradient scaler has no way to compute a gradient twice in one step",
    }

    rho: Rampable[NonNegative] = 0.05
    """ρ, the radius of the neighbourhood: .05, adaptive .5 to 2"""
    adaptive: bool = False
    """measure the radius relative to the size of each weight (ASAM), so that rescaling a layer changes nothing; of biases, too,
    which the authors' code leaves out"""
    eta: NonNegative = 0.01
    """η of the adaptive form, which keeps small weights moving"""

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, now: Callable[[], tuple[Self, StepContext]]
    ) -> torch.optim.Optimizer:
        return Sharpness(optimizer, model, now)

    @torch.no_grad()
    def perturbations(self, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
        """ε of each parameter, from the gradients that it holds."""
        grads: Any = [p.grad for p in parameters if p.grad is not None]
        if self.adaptive:
            sizes = torch._foreach_add(torch._foreach_abs(parameters), self.eta)
            grads = torch._foreach_mul(grads, sizes)
        scale = self.rho / (torch.nn.utils.get_total_norm(grads) + 1e-12)
        if self.adaptive:
            grads = torch._foreach_mul(grads, sizes)
        return list(torch._foreach_mul(grads, scale))


class Sharpness(OptimizerWrapper):
    """Two gradients per step of the base."""

    def __init__(self, base: torch.optim.Optimizer, model: nn.Module, now: Callable[[], tuple[SAM, StepContext]]) -> None:
        super().__init__(base)
        self.model, self.now = model, now

    def step(self, closure: Closure | None = None) -> Any:
        """The closure is run at θ, and again at θ + ε."""
        if closure is None:
            raise ValueError("SAM needs the closure that computes the gradient")
        sam, _ = self.now()
        with torch.enable_grad():
            loss = closure()
        if sam.rho:
            parameters: list[Any] = self.parameters()
            kept = [p.detach().clone() for p in parameters]
            with torch.no_grad():
                torch._foreach_add_(parameters, sam.perturbations(parameters))
            with frozen_bn_stats(self.model), torch.enable_grad():
                closure()
            with torch.no_grad():
                torch._foreach_copy_(parameters, kept)
        self.base.step()
        return loss
