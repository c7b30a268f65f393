"""Gradient noise (Neelakantan et al., 2015, arXiv:1511.06807, equation 1):  g ← g + N(0, σ²),  σ² = η / (1 + t)^γ  at step t.

The noise is added after clipping, as in the paper. It is the same on all processes, so that their weights stay equal.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import nn

from regulo.core.ranges import NonNegative
from regulo.core.rng import StepContext
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.optim.components.closure import run_closure
from regulo.optim.components.wrapper import Closure, OptimizerWrapper
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer


def noise_std(step: int, eta: float, gamma: float) -> float:
    """σ at a step, counted from 0."""
    return (eta / (1 + step) ** gamma) ** 0.5


class GradientNoise(Regularizer):
    """Add noise to the gradient; it becomes weaker during the run."""

    reference: ClassVar[str] = "arXiv:1511.06807"
    order: ClassVar[int] = 10  # inside SAM, which needs two gradients: the noise is on the one of the step
    strength_fields: ClassVar[tuple[str, ...]] = ("eta",)
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05, {"eta": Between(0.001, 0.3, log=True)})

    eta: Rampable[NonNegative] = 0.01
    """η, the variance of the noise on each number of the first gradient: .01, .3 or 1"""
    gamma: Rampable[NonNegative] = 0.55
    """γ, how fast the noise fades; 0: it stays as strong"""

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, resolve_step: Callable[[], tuple[Self, StepContext]]
    ) -> torch.optim.Optimizer:
        return GradientNoiseOptimizer(optimizer, resolve_step)


class GradientNoiseOptimizer(OptimizerWrapper):
    """Steps of the base optimizer with noise on the gradients."""

    def __init__(self, base: torch.optim.Optimizer, resolve_step: Callable[[], tuple[GradientNoise, StepContext]]) -> None:
        super().__init__(base)
        self.resolve_step = resolve_step

    def step(self, closure: Closure | None = None) -> Any:
        """Compute the gradients, add noise, step."""
        technique, context = self.resolve_step()
        loss = run_closure(closure)
        if technique.eta:
            std = noise_std(context.step, technique.eta, technique.gamma)
            self.add_noise(std, int(context.shared_rng("gradient_noise").integers(2**63)))
        self.base.step()
        return loss

    @torch.no_grad()
    def add_noise(self, std: float, seed: int) -> None:
        """Add N(0, std²) to each gradient, in place."""
        grads = [p.grad for p in self.parameters() if p.grad is not None]
        generators = {d: torch.Generator(d).manual_seed(seed) for d in {g.device for g in grads}}
        torch._foreach_add_(grads, [torch.empty_like(g).normal_(0, std, generator=generators[g.device]) for g in grads])
