"""Stochastic gradient descent with momentum.

    v ← μ v + ∇L;  θ ← θ − η (∇L + μ v) with Nesterov's momentum, else θ ← θ − η v

Decoupled weight decay is SGDW (arXiv:1711.05101, algorithm 1):  θ ← (1 − ηλ) θ  before the step.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from regulo.core.ranges import ProperShare
from regulo.optim.base import OptimizerConfig
from regulo.optim.components.closure import run_closure
from regulo.optim.components.common_lr import CommonLr
from regulo.optim.components.param_groups import ParamGroup


class SGD(OptimizerConfig):
    """torch's SGD, with decoupled weight decay for the parameter groups that have it."""

    reference: ClassVar[str] = "torch.optim.SGD"

    momentum: ProperShare = 0.9
    """μ"""
    nesterov: bool = True
    """Nesterov's momentum; needs a momentum above 0"""

    def common_lr(self) -> CommonLr:
        # the rates are for a momentum of .9, which makes steps 1 / (1 − μ) = 10 times larger
        return CommonLr(low=2e-3, typical=0.4, high=3.2, fine_tuning=0.4, power=1.0).multiply((1 - self.momentum) / 0.1)

    def build(self, groups: Sequence[ParamGroup], fused: bool) -> torch.optim.Optimizer:
        nesterov = self.nesterov and self.momentum > 0
        return SGDW(self.torch_groups(groups), lr=self.lr, momentum=self.momentum, nesterov=nesterov, fused=fused)

    def options(self, group: ParamGroup) -> dict[str, Any]:
        l2, decoupled = (0.0, group.weight_decay) if group.decoupled else (group.weight_decay, 0.0)
        return {"weight_decay": l2, "decoupled_decay": decoupled}  # torch's SGD has only l2


class SGDW(torch.optim.SGD):
    """torch's SGD with decoupled weight decay."""

    def step(self, closure: Any = None) -> Any:
        """Compute the gradient at θ, then θ ← (1 − ηλ) θ for parameters with a gradient (as in AdamW), then step."""
        loss = run_closure(closure)
        with torch.no_grad():
            for group in self.param_groups:
                parameters = [p for p in group["params"] if p.grad is not None]
                if group["decoupled_decay"] and parameters:
                    torch._foreach_mul_(parameters, 1 - group["lr"] * group["decoupled_decay"])
                for p in parameters if group["momentum"] else ():
                    if "momentum_buffer" not in self.state[p]:  # where some of a group have one, torch's fused kernel needs all
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        super().step()
        return loss
