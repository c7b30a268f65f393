"""Max-norm (Srivastava et al., 2014, JMLR 15:1929, section 5.1): the incoming weights of each unit stay inside a ball.

    after every step   w ← w · min(1, c / ‖w‖₂)   for each row of a linear layer and each filter of a convolution

Biases, normalisations, positions and class tokens are free. Made for dropout with high learning rates.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from regulo.core.ranges import Positive
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp, Rampable
from regulo.optim.components.param_groups import weight_matrices
from regulo.optim.components.wrapper import Closure, OptimizerWrapper
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer


class MaxNorm(Regularizer):
    """Bound the norm of every unit's incoming weights."""

    reference: ClassVar[str] = "JMLR 15:1929"
    order: ClassVar[int] = 90  # outermost: whatever else acts on the step, the weights end inside the ball
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}

    c: Rampable[Positive] = 4.0
    """c, the radius of the ball: 3 to 4"""

    def with_strength(self, strength: float) -> "MaxNorm | None":
        """A smaller ball is stronger: c is divided by the strength, and at 0 there is no bound."""
        if not strength:
            return None
        written: Any = self.c
        c = written.scale(1 / strength, float("inf")) if isinstance(written, Ramp) else written / strength
        return self.model_copy(update={"c": c})

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, now: Callable[[], tuple[Self, StepContext]]
    ) -> torch.optim.Optimizer:
        return Projection(optimizer, list(weight_matrices(model)), now)


class Projection(OptimizerWrapper):
    """Projects weights after each step of the base."""

    def __init__(
        self, base: torch.optim.Optimizer, weights: list[nn.Parameter], now: Callable[[], tuple[MaxNorm, StepContext]]
    ) -> None:
        super().__init__(base)
        self.weights, self.now = weights, now

    def step(self, closure: Closure | None = None) -> Any:
        """A step of the base, and back into the ball."""
        max_norm, _ = self.now()
        loss = self.base.step(closure)
        for weight in self.weights:
            project(weight, max_norm.c)
        return loss


@torch.no_grad()
def project(weight: Tensor, c: float) -> None:
    """Shrink, in place, what lies outside the ball of radius c: each weight[i], by its Euclidean norm."""
    norms = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)
    weight.mul_(c / norms.clamp(min=c))  # c / c = 1 exactly: what lies inside does not move
