"""The closure of an optimizer step."""

from collections.abc import Callable
from typing import Any

import torch


def run_closure(closure: Callable[[], Any] | None) -> Any:
    """Run the closure, which computes the gradients, and return its loss; None without a closure."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()
