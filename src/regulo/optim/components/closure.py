"""How an optimizer gets the gradients of a step."""

from collections.abc import Callable
from typing import Any

import torch


def run_closure(closure: Callable[[], Any] | None) -> Any:
    """The loss that the closure returns, which leaves the gradients in the parameters; None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
