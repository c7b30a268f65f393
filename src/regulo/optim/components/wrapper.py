"""An optimizer around an optimizer: for techniques that act on the step itself."""

from collections.abc import Callable
from typing import Any

import torch

Closure = Callable[[], Any]
"""runs the model forward and backward, and leaves the gradients in the parameters"""


class OptimizerWrapper(torch.optim.Optimizer):
    """Passes everything on to `base`; parameter groups and state *are* those of the base, so a checkpoint looks the same."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.base = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["base"], name)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The base's."""
        return self.base.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The base's."""
        return self.base.state

    def parameters(self) -> list[torch.nn.Parameter]:
        """Those that have a gradient."""
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]

    def step(self, closure: Closure | None = None) -> Any:
        """One step of the base, which may need the closure itself (SAM does)."""
        return self.base.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """The base's."""
        self.base.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The base's."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The base's."""
        self.base.load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """The base's."""
        self.base.add_param_group(param_group)
