"""Max-norm (Srivastava et al., 2014, JMLR 15:1929, section 5.1): the incoming weights of each unit stay inside a ball
of radius c.

    after every step   w ← w · min(1, c / ‖w‖₂)   for each row of a linear layer and each filter of a convolution

Biases, normalizations, positions and class tokens are not bounded. It was made for dropout with high learning rates.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from regulo.core.ranges import Positive
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp, Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.optim.components.param_groups import weight_matrices
from regulo.optim.components.wrapper import Closure, OptimizerWrapper
from regulo.regularizers.base import WHY_NOT_FSDP, Regularizer


@torch.no_grad()
def project(weight: Tensor, c: float) -> None:
    """Set w ← w · min(1, c / ‖w‖₂) in place, for each w = weight[i] of a weight (O, …)."""
    norms = torch.linalg.vector_norm(weight, dim=tuple(range(1, weight.ndim)), keepdim=True)
    weight.mul_(c / norms.clamp(min=c))  # c / c = 1 exactly: weights inside the ball do not change


class MaxNorm(Regularizer):
    """Bound the norm of the incoming weights of every unit."""

    reference: ClassVar[str] = "JMLR 15:1929"
    order: ClassVar[int] = 90  # outermost: the weights end inside the ball, whatever else acts on the step
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05, {"c": Between(1.0, 6.0, log=True)})

    c: Rampable[Positive] = 4.0
    """c, the radius of the ball: 3 to 4"""

    def with_strength(self, strength: float) -> "MaxNorm | None":
        """A smaller ball is stronger: c is divided by the strength, and at 0 there is no bound."""
        if not strength:
            return None
        value: Any = self.c
        c = value.scale(1 / strength, float("inf")) if isinstance(value, Ramp) else value / strength
        return self.model_copy(update={"c": c})

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, resolve_step: Callable[[], tuple[Self, StepContext]]
    ) -> torch.optim.Optimizer:
        return MaxNormOptimizer(optimizer, list(weight_matrices(model)), resolve_step)


class MaxNormOptimizer(OptimizerWrapper):
    """Steps of the base optimizer; after each one the weights are projected into the ball."""

    def __init__(
        self,
        base: torch.optim.Optimizer,
        weights: list[nn.Parameter],
        resolve_step: Callable[[], tuple[MaxNorm, StepContext]],
    ) -> None:
        super().__init__(base)
        self.weights, self.resolve_step = weights, resolve_step

    def step(self, closure: Closure | None = None) -> Any:
        """Step, then project."""
        technique, _ = self.resolve_step()
        loss = self.base.step(closure)
        for weight in self.weights:
            if weight.requires_grad:  # it is not frozen
                project(weight, technique.c)
        return loss
