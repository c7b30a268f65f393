"""Stochastic gradient descent with momentum:  v ← μ v + ∇L;  θ ← θ − η (∇L + μ v) with Nesterov's look-ahead, else η v."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from regulo.groups import ParamGroup
from regulo.optim.base import Optimizer


class SGD(Optimizer):
    """torch's SGD, and decoupled weight decay beside it (SGDW, arXiv:1711.05101, algorithm 1) where the plan asks for it."""

    source: ClassVar[str] = "torch.optim.SGD"

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """μ"""
    nesterov: bool = True
    """look ahead along the momentum; needs a momentum above 0"""

    def build(self, groups: Sequence[ParamGroup], fused: bool) -> torch.optim.Optimizer:
        options = [
            {
                "params": [m.parameter for m in g.members],
                "weight_decay": 0.0 if g.decoupled else g.weight_decay,  # torch's SGD knows only l2
                "decoupled_decay": g.weight_decay if g.decoupled else 0.0,
            }
            for g in groups
        ]
        optimizer = torch.optim.SGD(
            options, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov and self.momentum > 0, fused=fused
        )
        if any(g["decoupled_decay"] for g in optimizer.param_groups):
            optimizer.register_step_pre_hook(_decay)
        return optimizer


@torch.no_grad()
def _decay(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """θ ← (1 − ηλ) θ, for parameters that have a gradient, as AdamW does it."""
    for group in optimizer.param_groups:
        parameters = [p for p in group["params"] if p.grad is not None]
        if group["decoupled_decay"] and parameters:
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["decoupled_decay"])
