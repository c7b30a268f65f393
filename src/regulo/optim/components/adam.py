"""Adam's direction and the decay of a parameter group, for the optimizers that torch does not have."""

from typing import Any

import torch
from torch import Tensor


def split_decay(parameter: Tensor, group: dict[str, Any]) -> tuple[Tensor, float]:
    """The gradient of a parameter, with l2 decay if the group has that, and the rate of decoupled decay, else 0."""
    gradient, decay = parameter.grad, group["weight_decay"]
    assert gradient is not None
    return (gradient, decay) if group["decoupled_weight_decay"] else (gradient + decay * parameter, 0.0)


def adam_direction(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """m̂ / (√v̂ + ε) after one more gradient; `state` of the parameter is begun, and changed (Kingma & Ba, arXiv:1412.6980)."""
    beta1, beta2 = group["betas"]
    if not state:
        state.update(step=0, m=torch.zeros_like(parameter), v=torch.zeros_like(parameter))
    state["step"] += 1
    state["m"].lerp_(gradient, 1 - beta1)
    state["v"].lerp_(gradient.square(), 1 - beta2)
    m, v = state["m"] / (1 - beta1 ** state["step"]), state["v"] / (1 - beta2 ** state["step"])
    return m / (v.sqrt() + group["eps"])
