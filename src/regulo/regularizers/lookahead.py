"""Lookahead (Zhang et al., 2019, arXiv:1907.08610, algorithm 1): slow weights φ follow the fast ones θ, which begin anew there.

    after every k steps of the optimizer   φ ← φ + α (θ − φ);   θ ← φ

The optimizer's own averages (momentum) go on. What is validated and handed on are the weights as they are, at most k − 1 steps
away from the slow ones; a final learning rate near zero makes them the same.
"""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import nn

from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp, Rampable
from regulo.optim.components.wrapper import Closure, OptimizerWrapper
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer

Alpha = Annotated[float, Field(gt=0, le=1)]


class Lookahead(Regularizer):
    """Explore a few steps ahead, then go only part of the way."""

    reference: ClassVar[str] = "arXiv:1907.08610"
    order: ClassVar[int] = 30  # around whatever makes up a step
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}

    k: Annotated[int, Field(ge=1)] = 5
    """steps of the optimizer between two of the slow weights: 5 to 10"""
    alpha: Rampable[Alpha] = 0.5
    """α, the share of the way that is kept: .5 to .8; 1 is the optimizer alone"""

    def with_strength(self, strength: float) -> Self | None:
        """α^strength: nearer to 1 is weaker, and it never becomes 0, with which nothing would be learned."""
        if strength == 0:
            return None
        if isinstance(self.alpha, Ramp):
            ends = {"start": self.alpha.start**strength, "end": self.alpha.end**strength}
            return self.model_copy(update={"alpha": self.alpha.model_copy(update=ends)})
        return self.model_copy(update={"alpha": self.alpha**strength})

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, now: Callable[[], tuple[Self, StepContext]]
    ) -> torch.optim.Optimizer:
        return Slow(optimizer, now)


class Slow(OptimizerWrapper):
    """The slow weights live in the base's state, so that a checkpoint has them."""

    def __init__(self, base: torch.optim.Optimizer, now: Callable[[], tuple[Lookahead, StepContext]]) -> None:
        super().__init__(base)
        self.now = now

    def step(self, closure: Closure | None = None) -> Any:
        """One step of the fast weights, and perhaps one of the slow ones."""
        lookahead, moment = self.now()
        parameters = [p for group in self.param_groups for p in group["params"]]
        new = {p: p.detach().clone() for p in parameters if "slow" not in self.state.get(p, {})}
        loss = self.base.step(closure)
        for p in self.parameters():
            if p in new:  # only now: Adam takes a parameter without any state for a new one
                self.state[p]["slow"] = new[p]
        if (moment.step + 1) % lookahead.k == 0:
            self.advance(lookahead.alpha)
        return loss

    @torch.no_grad()
    def advance(self, alpha: float) -> None:
        """φ ← φ + α (θ − φ); θ ← φ."""
        fast: list[torch.Tensor] = list(self.parameters())
        slow = [self.state[p]["slow"] for p in fast]
        torch._foreach_lerp_(slow, fast, alpha)
        torch._foreach_copy_(fast, slow)
