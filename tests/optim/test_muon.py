"""Muon against torch's own, and against the singular value decomposition."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regulo.models.resnet_small import ResNetSmall
from regulo.optim import muon
from regulo.optim.components.param_groups import NamedParameter, ParamGroup
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.weight_decay import WeightDecay
from tests.conftest import GRAY


def build(parameters: dict[nn.Parameter, int], decay: float = 0.0, **fields: Any) -> torch.optim.Optimizer:
    """An optimizer of parameters and the numbers of their layers; 9 is after the last block."""
    members = tuple(NamedParameter(f"p{i}", p, nn.Module(), layer) for i, (p, layer) in enumerate(parameters.items()))
    return muon.Muon(**fields).build([ParamGroup(members, weight_decay=decay)], fused=False)


def gradient(shape: torch.Size, step: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(step))


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (8, 8)])
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_a_matrix_moves_as_in_torchs_muon(shape: tuple[int, int], decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, theirs, last = (nn.Parameter(torch.ones(shape)) for _ in range(3))
    ours = build({mine: 1, last: 2}, decay, lr=0.1, momentum=0.9)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=decay, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    monkeypatch.setattr(
        muon,
        "orthogonalize",
        lambda x, steps: torch.optim._muon._zeropower_via_newtonschulz(x, muon.COEFFICIENTS, steps, 1e-7).float(),
    )  # torch's is in bfloat16
    for step in range(4):
        mine.grad, theirs.grad = gradient(mine.shape, step), gradient(mine.shape, step)
        ours.step()
        reference.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 30), (30, 5), (12, 12)])
def test_the_direction_has_the_singular_vectors_of_the_gradient_and_nearly_equal_singular_values(shape: tuple[int, int]) -> None:
    matrix = gradient(torch.Size(shape), 0).double()
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    result = muon.orthogonalize(matrix, 5)
    values = u.T @ result @ vt.T
    torch.testing.assert_close(values, torch.diag(values.diag()), atol=1e-9, rtol=0)
    assert 0.6 < values.diag().min() < values.diag().max() < 1.25
    rounded = torch.optim._muon._zeropower_via_newtonschulz(matrix.float(), muon.COEFFICIENTS, 5, 1e-7)
    torch.testing.assert_close(result.float(), rounded.float(), atol=0.05, rtol=0)


def test_kernels_are_flattened_and_steps_have_the_size_of_adams() -> None:
    kernel, last = nn.Parameter(torch.zeros(16, 4, 3, 3)), nn.Parameter(torch.zeros(2))
    optimizer = build({kernel: 1, last: 2}, lr=1.0)
    kernel.grad = gradient(kernel.shape, 0)
    optimizer.step()
    direction = -kernel.detach().flatten(1) / (0.2 * math.sqrt(36))
    torch.testing.assert_close(direction, muon.orthogonalize(gradient(kernel.shape, 0).flatten(1), 5))
    assert 0.1 < float(kernel.detach().square().mean().sqrt()) < 0.3, "Adam's are 0.2 to 0.4, says the paper"


@pytest.mark.parametrize("decoupled", [True, False])
def test_all_other_parameters_move_as_in_torchs_adam(decoupled: bool) -> None:
    mine, theirs = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3, 4))
    members = (NamedParameter("head", mine, nn.Module(), 2),)
    ours = muon.Muon(lr=0.1).build([ParamGroup(members, 0.1, decoupled)], fused=False)
    reference = torch.optim.Adam([theirs], lr=0.1, weight_decay=0.1, decoupled_weight_decay=decoupled)
    for step in range(4):
        mine.grad, theirs.grad = gradient(mine.shape, step), gradient(mine.shape, step)
        ours.step()
        reference.step()
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


def test_the_matrices_are_the_weights_of_the_blocks() -> None:
    model = ResNetSmall(width=4).build(GRAY)
    groups = Plan([WeightDecay(rate=0.1)]).param_groups(model)
    optimizer = muon.Muon().build(groups, fused=False)
    matrices = {
        member.name
        for group, torch_group in zip(groups, optimizer.param_groups, strict=True)
        for member, is_matrix in zip(group.members, torch_group["is_matrix"], strict=True)
        if is_matrix
    }
    assert matrices == {name for name, p in model.named_parameters() if name.startswith("blocks.") and p.ndim == 4}


def test_a_saved_state_goes_on_exactly() -> None:
    first, second = (nn.Parameter(torch.ones(3, 5)) for _ in range(2))
    vectors = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizers = [build({matrix: 1, vector: 2}, lr=0.1) for matrix, vector in zip((first, second), vectors, strict=True)]
    for step in range(4):
        if step == 2:
            second.data, vectors[1].data = first.detach().clone(), vectors[0].detach().clone()
            optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
        for place, (matrix, vector) in enumerate(zip((first, second), vectors, strict=True)):
            matrix.grad, vector.grad = gradient(matrix.shape, step), gradient(vector.shape, step)
            if place == 0 or step >= 2:
                optimizers[place].step()
    assert torch.equal(first, second)
    assert torch.equal(*vectors)
