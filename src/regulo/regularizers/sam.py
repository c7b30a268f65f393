"""Sharpness-aware minimization (Foret et al., 2021, arXiv:2010.01412, algorithm 1), and its adaptive form ASAM (Kwon et al.,
2021, arXiv:2102.11600, algorithm 1).

    g = ∇L(θ);   ε = ρ T² g / ‖T g‖  with T = 1, adaptive: T = |θ| + η;   step with ∇L(θ + ε), taken from θ

Two forward and backward passes per step. The second one does not change the running statistics of BatchNorm. The logged loss is
that of the first pass, at θ.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from regulo.core.ranges import NonNegative
from regulo.core.rng import StepContext
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.optim.components.wrapper import Closure, OptimizerWrapper
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer
from regulo.regularizers.components.replay import frozen_bn_stats


@torch.no_grad()
def perturbations(parameters: list[Tensor], rho: float, eta: float | None = None) -> list[Tensor]:
    """ε of each parameter, from its gradient and of its shape; adaptive with `eta`."""
    grads: Any = [p.grad for p in parameters if p.grad is not None]
    if eta is None:
        scale = rho / (nn.utils.get_total_norm(grads) + 1e-12)
        return list(torch._foreach_mul(grads, scale))
    sizes = torch._foreach_add(torch._foreach_abs(parameters), eta)  # T
    grads = torch._foreach_mul(grads, sizes)
    scale = rho / (nn.utils.get_total_norm(grads) + 1e-12)
    return list(torch._foreach_mul(torch._foreach_mul(grads, sizes), scale))


class SAM(Regularizer):
    """Step along the gradient of the worst point in a neighborhood."""

    reference: ClassVar[str] = "arXiv:2010.01412; arXiv:2102.11600"
    order: ClassVar[int] = 20
    strength_fields: ClassVar[tuple[str, ...]] = ("rho",)
    incompatible: ClassVar[dict[str, str]] = {
        "fsdp": WHY_NOT_FSDP,
        "16-mixed": "the gradient scaler cannot compute two gradients in one step",
    }
    search_space: ClassVar[SearchSpace] = SearchSpace(0.15, {"rho": Between(0.01, 0.2, log=True)})

    rho: Rampable[NonNegative] = 0.05
    """ρ, the radius of the neighborhood: .05; adaptive: .5 to 2"""
    adaptive: bool = False
    """measure the radius relative to the size of each weight (ASAM), so that rescaling a layer changes nothing. This includes
    biases, which the authors' code leaves out"""
    eta: NonNegative = 0.01
    """η of the adaptive form, which lets small weights move"""

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, resolve_step: Callable[[], tuple[Self, StepContext]]
    ) -> torch.optim.Optimizer:
        return SAMOptimizer(optimizer, model, resolve_step)


class SAMOptimizer(OptimizerWrapper):
    """Steps of the base optimizer along the gradient at θ + ε."""

    def __init__(
        self, base: torch.optim.Optimizer, model: nn.Module, resolve_step: Callable[[], tuple[SAM, StepContext]]
    ) -> None:
        super().__init__(base)
        self.model, self.resolve_step = model, resolve_step

    def step(self, closure: Closure | None = None) -> Any:
        """Run the closure at θ and again at θ + ε, go back to θ, step. Raises ValueError without a closure."""
        if closure is None:
            raise ValueError("SAM needs the closure that computes the gradient")
        technique, _ = self.resolve_step()
        with torch.enable_grad():
            loss = closure()
        if technique.rho:
            parameters: list[Any] = self.parameters()
            theta = [p.detach().clone() for p in parameters]
            eta = technique.eta if technique.adaptive else None
            with torch.no_grad():
                torch._foreach_add_(parameters, perturbations(parameters, technique.rho, eta))
            with frozen_bn_stats(self.model), torch.enable_grad():
                closure()
            with torch.no_grad():
                torch._foreach_copy_(parameters, theta)
        self.base.step()
        return loss
