"""Sites of timm's families: as many as docs/timm.md says, at the right places, and networks train with what acts there."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regulo.core.errors import InputError
from regulo.models.components.sites import KINDS, find_sites
from regulo.models.timm import Timm
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.dropout import Dropout
from regulo.regularizers.patch_dropout import PatchDropout
from regulo.regularizers.stochastic_depth import StochasticDepth
from tests.conftest import images_of

ROOT = Path(__file__).parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("timm_sites", ROOT / "scripts" / "timm_sites.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SITES = script()
ROWS = SITES.read_rows(SITES.PAGE.read_text(encoding="utf-8"))
FAST = ("byobnet", "deit", "efficientnet", "maxxvit", "nfnet", "resnet")
MODULES = [pytest.param(name, marks=() if name in FAST else pytest.mark.long) for name in ROWS]


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def plan_of(row: Any) -> Plan:
    """Every technique that acts on a site of the model."""
    has = dict(zip(KINDS, row.sites, strict=True))
    rates = {kind: 0.3 for kind in ("fc", "conv", "attention") if has[kind]}
    techniques: list[Any] = [Dropout(**{"fc": 0.0} | rates)]
    techniques += [StochasticDepth(p=0.3)] * bool(has["residual"]) + [PatchDropout(p=0.5)] * bool(has["tokens"])
    return Plan(techniques)


def test_the_page_has_every_module_of_timm() -> None:
    import timm

    assert list(ROWS) == sorted(timm.list_modules())


@pytest.mark.parametrize("module", MODULES)
def test_the_sites_of_a_family_are_those_of_the_page_and_it_trains(module: str) -> None:
    row = ROWS[module]
    info = SITES.dataset_info(row.image_size)
    torch.manual_seed(0)
    model = Timm(architecture=row.architecture).build(info)
    assert tuple(len(find_sites(model, kind)) for kind in KINDS) == row.sites
    images, labels = images_of(info, 4), torch.tensor([0, 1, 0, 1])

    with torch.no_grad():  # the model itself draws nothing: its own rates are 0
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        first = model.train()(images)
        model.load_state_dict(state)
        torch.testing.assert_close(model(images), first)
        model.load_state_dict(state)

    model = plan_of(row).surgery(model, info).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    assert sum(p.grad is not None and bool(p.grad.any()) for p in model.parameters()) > 2


CHANGED_SHORTCUTS = {
    "coat": "the position is added by a convolution",
    "davit": "the position is added by a convolution",
    "fastvit": "tokens are mixed on the shortcut",
    "swin_transformer_v2_cr": "the last block of a stage normalizes the sum",
    "tiny_vit": "a convolution lies between the branches",
    "xcit": "class attention normalizes the shortcut",
}
"""families in which timm computes something on the way around the branches"""


@pytest.mark.parametrize("module", MODULES)
def test_a_block_without_its_branches_is_its_shortcut(module: str) -> None:
    """Blocks whose shape does not change: with zeros in place of the branches, out comes what went in, or its activation."""
    if module in CHANGED_SHORTCUTS:
        pytest.skip(CHANGED_SHORTCUTS[module])
    row = ROWS[module]
    info = SITES.dataset_info(row.image_size)
    model = Timm(architecture=row.architecture).build(info).eval()
    blocks = [m for m in model.modules() if "trunk" in dict(m.named_children()) and find_sites(m, "residual")]
    wrong = []

    def check(block: nn.Module, args: Any, output: Any) -> None:
        x = args[0]
        if isinstance(x, Tensor) and x.shape == output.shape and not hasattr(block, "downsample"):
            wrong.extend([type(block).__name__] * (not any(output.allclose(y, atol=1e-5) for y in (x, F.relu(x), F.silu(x)))))

    for block in blocks:
        for site in find_sites(block, "residual"):
            site.insert(Zero())
        block.register_forward_hook(check)
    with torch.no_grad():
        model(images_of(info, 2))
    assert not wrong


def test_a_technique_without_a_site_is_refused_by_name() -> None:
    model = Timm(architecture="test_vit").build(SITES.dataset_info(160))
    with pytest.raises(InputError, match=r"^regularizer\.dropout\.conv: this model has no site of the kind 'conv'; it has"):
        Plan([Dropout(conv=0.1)]).surgery(model, SITES.dataset_info(160))
