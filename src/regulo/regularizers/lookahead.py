"""Lookahead (Zhang et al., 2019, arXiv:1907.08610, algorithm 1): slow weights φ follow the fast weights θ.

    after every k steps of the optimizer   φ ← φ + α (θ − φ);   θ ← φ

The state of the optimizer (momentum) is kept. Validation and the final weights use θ, which is at most k − 1 steps away from φ.
With a final learning rate near zero the two are the same.
"""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp, Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.optim.components.wrapper import Closure, OptimizerWrapper
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer

Alpha = Annotated[float, Field(gt=0, le=1)]


@torch.no_grad()
def synchronize(slow: list[Tensor], fast: list[Tensor], alpha: float) -> None:
    """φ ← φ + α (θ − φ); θ ← φ, in place."""
    torch._foreach_lerp_(slow, fast, alpha)
    torch._foreach_copy_(fast, slow)


class Lookahead(Regularizer):
    """Take k steps, then go back to a point part of the way."""

    reference: ClassVar[str] = "arXiv:1907.08610"
    order: ClassVar[int] = 30  # around SAM and gradient noise, which make up a step
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.1, {"alpha": Between(0.3, 0.8)})

    k: Annotated[int, Field(ge=1)] = 5
    """steps of the optimizer per step of the slow weights: 5 to 10"""
    alpha: Rampable[Alpha] = 0.5
    """α, the share of the way that is kept: .5 to .8; 1 is the optimizer without lookahead"""

    def with_strength(self, strength: float) -> Self | None:
        """α^strength: nearer to 1 is weaker. It never becomes 0, which would stop the learning."""
        if strength == 0:
            return None
        if isinstance(self.alpha, Ramp):
            ends = {"start": self.alpha.start**strength, "end": self.alpha.end**strength}
            return self.model_copy(update={"alpha": self.alpha.model_copy(update=ends)})
        return self.model_copy(update={"alpha": self.alpha**strength})

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, resolve_step: Callable[[], tuple[Self, StepContext]]
    ) -> torch.optim.Optimizer:
        return LookaheadOptimizer(optimizer, resolve_step)


class LookaheadOptimizer(OptimizerWrapper):
    """Steps of the base optimizer, and of the slow weights, which are in its state: a checkpoint has them."""

    def __init__(self, base: torch.optim.Optimizer, resolve_step: Callable[[], tuple[Lookahead, StepContext]]) -> None:
        super().__init__(base)
        self.resolve_step = resolve_step

    def step(self, closure: Closure | None = None) -> Any:
        """One step of the fast weights, and after every k steps one of the slow weights."""
        technique, context = self.resolve_step()
        parameters = [p for group in self.param_groups for p in group["params"]]
        initial = {p: p.detach().clone() for p in parameters if "slow" not in self.state.get(p, {})}
        loss = self.base.step(closure)
        for p in self.parameters():
            if p in initial:  # after the step: Adam initializes only parameters that have no state at all
                self.state[p]["slow"] = initial[p]
        if (context.step + 1) % technique.k == 0:
            fast: list[Tensor] = list(self.parameters())
            synchronize([self.state[p]["slow"] for p in fast], fast, technique.alpha)
        return loss
