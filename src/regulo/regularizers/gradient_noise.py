"""Gradient noise (Neelakantan et al., 2015, arXiv:1511.06807, equation 1):  g ← g + N(0, σ²),  σ² = η / (1 + t)^γ  at step t.

It comes after clipping, as in the paper, and is the same on all processes, whose weights must not drift apart.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import nn

from regulo.core.ranges import NonNegative
from regulo.core.rng import StepContext
from regulo.core.schedule import Rampable
from regulo.optim.components.closure import run_closure
from regulo.optim.components.wrapper import Closure, OptimizerWrapper
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer


class GradientNoise(Regularizer):
    """Add noise to the gradient that fades over the run."""

    reference: ClassVar[str] = "arXiv:1511.06807"
    order: ClassVar[int] = 10  # inside those that ask for several gradients: the noise is on the one that is followed
    strength_fields: ClassVar[tuple[str, ...]] = ("eta",)
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}

    eta: Rampable[NonNegative] = 0.01
    """η, the variance of the noise on each number of the first gradient: .01, .3 or 1"""
    gamma: Rampable[NonNegative] = 0.55
    """γ, how soon it fades; 0: never"""

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, now: Callable[[], tuple[Self, StepContext]]
    ) -> torch.optim.Optimizer:
        return Noisy(optimizer, now)

    def deviation(self, step: int) -> float:
        """σ at a step, counted from 0."""
        return (self.eta / (1 + step) ** self.gamma) ** 0.5


class Noisy(OptimizerWrapper):
    """Steps of the base along noisy gradients."""

    def __init__(self, base: torch.optim.Optimizer, now: Callable[[], tuple[GradientNoise, StepContext]]) -> None:
        super().__init__(base)
        self.now = now

    def step(self, closure: Closure | None = None) -> Any:
        """The noise lies on what the closure leaves."""
        noise, moment = self.now()
        loss = run_closure(closure)
        if noise.eta:
            self.disturb(noise.deviation(moment.step), int(moment.shared_rng("gradient_noise").integers(2**63)))
        self.base.step()
        return loss

    @torch.no_grad()
    def disturb(self, deviation: float, seed: int) -> None:
        """G ← g + N(0, deviation²)."""
        grads = [p.grad for p in self.parameters() if p.grad is not None]
        generators = {d: torch.Generator(d).manual_seed(seed) for d in {g.device for g in grads}}
        torch._foreach_add_(grads, [torch.empty_like(g).normal_(0, deviation, generator=generators[g.device]) for g in grads])
