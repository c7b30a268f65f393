"""LAMB against its algorithm, in float64."""

import pytest
import torch
from torch import nn

from regulo.optim.lamb import Lamb
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.weight_decay import WeightDecay


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_is_algorithm_2(decay: float) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False).double()
    theta = layer.weight.detach().clone()
    plan = Plan([WeightDecay(rate=decay, skip=[])] if decay else [])
    optimizer = Lamb(lr=0.05).build(plan.param_groups(layer), fused=False)
    m = v = torch.zeros_like(theta)
    for t in range(1, 6):
        g = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(t))
        layer.weight.grad = g.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        u = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-6) + decay * theta
        ratio = (theta.norm() / u.norm()).item()
        theta = theta - 0.05 * ratio * u
        torch.testing.assert_close(layer.weight.detach(), theta, rtol=1e-12, atol=1e-12)


def test_a_tensor_of_zeros_gets_a_trust_ratio_of_one() -> None:
    layer = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = Lamb(lr=0.1).build(Plan([WeightDecay(rate=0.1, skip=[])]).param_groups(layer), fused=False)
    layer.weight.grad = torch.ones(2, 2)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), torch.full((2, 2), -0.1), rtol=1e-4, atol=0)


def test_vectors_are_not_adapted() -> None:
    layer = nn.Linear(2, 3)
    before = layer.bias.detach().clone()
    optimizer = Lamb(lr=0.1).build(Plan([]).param_groups(layer), fused=False)
    layer.bias.grad = torch.full((3,), 2.0)
    optimizer.step()
    torch.testing.assert_close(layer.bias.detach(), before - 0.1, rtol=1e-4, atol=1e-6)  # Adam's first step
