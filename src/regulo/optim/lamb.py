"""LAMB (You et al., 2020, arXiv:1904.00962, algorithm 2), for very large batches.

    m ← β₁ m + (1 − β₁) ∇L;  v ← β₂ v + (1 − β₂) ∇L²;  u = m̂ / (√v̂ + ε) + λθ;  θ ← θ − η (‖θ‖ / ‖u‖) u

The trust ratio ‖θ‖ / ‖u‖ is computed per tensor, and is 1 if a norm is 0. Vectors (biases, norms, scales) have no trust ratio.

This is own code, because torch has no LAMB and each parameter group here defines whether its decay is decoupled or l2.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from regulo.core.ranges import Positive
from regulo.optim.base import AdamOptimizer
from regulo.optim.components.adam import adam_direction, split_decay
from regulo.optim.components.closure import run_closure
from regulo.optim.components.common_lr import CommonLr
from regulo.optim.components.param_groups import ParamGroup


class Lamb(AdamOptimizer):
    """Adam with a step whose length is proportional to the norm of each layer's weights; decay is a part of this step."""

    reference: ClassVar[str] = "arXiv:1904.00962"
    averages_weights = False  # the trust ratio scales the decay, too

    lr: Positive = 5e-3
    """η, the highest learning rate of the run"""
    eps: Positive = 1e-6
    """ε"""

    def common_lr(self) -> CommonLr:
        return CommonLr(low=1e-4, typical=4e-3, high=4e-2, fine_tuning=4e-3, power=0.5)

    def build(self, groups: Sequence[ParamGroup], fused: bool) -> torch.optim.Optimizer:
        return LAMB(self.torch_groups(groups), {"lr": self.lr, "betas": self.betas, "eps": self.eps})


class LAMB(torch.optim.Optimizer):
    """Layer-wise adaptive moments, in torch operations that never wait for the device."""

    def step(self, closure: Any = None) -> Any:
        """One step with the gradients from the closure."""
        loss = run_closure(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, group)
        return loss

    def _update(self, parameter: torch.nn.Parameter, group: dict[str, Any]) -> None:
        gradient, decay = split_decay(parameter, group)
        update = adam_direction(parameter, gradient, self.state[parameter], group) + decay * parameter
        if parameter.ndim > 1:
            ratio = parameter.norm() / update.norm()
            update *= torch.where(ratio.isfinite() & (ratio > 0), ratio, 1.0)
        parameter.add_(update, alpha=-group["lr"])
