"""An optimizer around an optimizer: for techniques that act on the step itself."""

from collections.abc import Callable
from typing import Any

import torch

Closure = Callable[[], Any]
"""computes the loss and the gradients of the parameters, and returns the loss"""


class OptimizerWrapper(torch.optim.Optimizer):
    """Forwards everything to `base`. Parameter groups and state *are* those of `base`, so checkpoints have the same format."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.base = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["base"], name)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The parameter groups of `base`."""
        return self.base.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of `base`."""
        return self.base.state

    def parameters(self) -> list[torch.nn.Parameter]:
        """The parameters that have a gradient."""
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]

    def step(self, closure: Closure | None = None) -> Any:
        """One step of `base`, which may call the closure itself."""
        return self.base.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients, as `base` does."""
        self.base.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The state dict of `base`."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state dict into `base`."""
        self.base.load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group to `base`."""
        self.base.add_param_group(param_group)
