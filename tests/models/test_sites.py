"""Sites lie where they say: a residual block without its branches is its shortcut."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import maxvit, swin_transformer, vision_transformer

from regulo.models import torchvision
from regulo.models.components.sites import RateSite, Site, find_sites
from regulo.models.torchvision import Torchvision
from tests.conftest import COLOR, SMALL, build_model, images_of


def small(make: Callable[..., nn.Module], **fields: Any) -> Callable[[], nn.Module]:
    """One of torchvision's networks, smaller than its named ones, with sites."""

    def build() -> nn.Module:
        model = make(num_classes=5, **fields)
        head = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        torchvision._add_sites(model, head, COLOR)
        return model

    return build


def named(architecture: str) -> Callable[[], nn.Module]:
    return lambda: Torchvision(architecture=architecture, small_stem=False).build(COLOR)


SWIN = {"patch_size": [4, 4], "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": [4, 4]}
V2 = {"block": swin_transformer.SwinTransformerBlockV2, "downsample_layer": swin_transformer.PatchMergingV2}
MAXVIT = {"input_size": (32, 32), "stem_channels": 8, "partition_size": 2, "block_channels": [8, 16], "block_layers": [1, 2]}
CONVNEXT = [models.convnext.CNBlockConfig(8, 16, 2), models.convnext.CNBlockConfig(16, None, 1)]
VIT = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
RELU, PLAIN = torch.relu, lambda x: x

BLOCKS: dict[str, tuple[Callable[[], nn.Module], int, str, Callable[[Tensor], Tensor]]] = {
    "resnet_small": (lambda: build_model("resnet_small", COLOR), 3, "shortcut", RELU),
    "vit_tiny": (lambda: build_model("vit_tiny", COLOR), 4, "", PLAIN),
    "resnet18": (named("resnet18"), 8, "downsample", RELU),
    "bottleneck": (small(models.ResNet, block=models.resnet.Bottleneck, layers=[1, 2, 1, 1]), 5, "downsample", RELU),
    "regnet_y_400mf": (named("regnet_y_400mf"), 16, "proj", RELU),
    "mobilenet_v2": (named("mobilenet_v2"), 10, "", PLAIN),
    "mobilenet_v3_small": (named("mobilenet_v3_small"), 6, "", PLAIN),
    "mnasnet0_5": (named("mnasnet0_5"), 10, "", PLAIN),
    "efficientnet_b0": (named("efficientnet_b0"), 9, "", PLAIN),
    "convnext": (small(models.ConvNeXt, block_setting=CONVNEXT), 3, "", PLAIN),
    "vit": (small(vision_transformer.VisionTransformer, **VIT), 4, "", PLAIN),
    "swin": (small(models.SwinTransformer, **SWIN), 6, "", PLAIN),
    "swin_v2": (small(models.SwinTransformer, **SWIN, **V2), 6, "", PLAIN),
    "maxvit": (small(maxvit.MaxVit, head_dim=4, stochastic_depth_prob=0.1, **MAXVIT), 15, "proj", PLAIN),
}
"""how to build it, how many residual sites it has, where a block keeps its projection, what follows the sum"""


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_without_its_branches_is_its_shortcut(name: str) -> None:
    build, count, projection, after = BLOCKS[name]
    model = build().eval()
    branches = find_sites(model, "residual")
    assert len(branches) == count
    modules: list[nn.Module] = []
    for site in branches:
        site.insert(Zero())
        site.inner[0].register_forward_hook(lambda m, i, o: modules.append(m))
    calls = []
    blocks = [m for m in model.modules() if any(isinstance(c, Site) and c.kind == "trunk" for c in m.children())]
    for block in blocks:
        block.register_forward_hook(lambda m, i, o: calls.append((m, i[0].clone(), o.clone())))
    x = images_of(COLOR, 2)
    with torch.no_grad():
        model(x)
        assert len(calls) == len(blocks)
        assert modules == [s.inner[0] for s in branches], "each branch passes its site once, from input to output"
        for block, inputs, out in calls:
            shortcut = getattr(block, projection, None) if projection else None
            expected = after(shortcut(inputs) if shortcut is not None else inputs)
            torch.testing.assert_close(out, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1"])
def test_what_adds_nothing_has_no_residual_site(name: str) -> None:
    assert not find_sites(named(name)(), "residual")


@pytest.mark.parametrize("pool", ["mean", "class"])
@pytest.mark.parametrize("name", ["vit_tiny", "vit"])
def test_the_tokens_site_sees_every_patch_with_its_position_behind_the_prefix(name: str, pool: str) -> None:
    if name == "vit":
        model = BLOCKS["vit"][0]()
        position, prefix, patches = model.encoder.pos_embedding, 1, 16  # type: ignore[union-attr]
        embed, class_token = model.conv_proj, model.class_token
    else:
        model = build_model(name, COLOR, pool=pool)
        position, prefix, patches = model.position, int(pool == "class"), 16
        embed, class_token = model.embed, model.class_token
    (site,) = find_sites(model, "tokens")
    calls: list[Tensor] = []
    site.register_forward_hook(lambda m, i, o: calls.append(o))
    x = images_of(COLOR, 2)
    with torch.no_grad():
        model.eval()(x)
        expected = embed(x).flatten(2).transpose(1, 2)  # type: ignore[operator]
        if prefix:
            expected = torch.cat([class_token.expand(2, -1, -1), expected], 1)  # type: ignore[operator, union-attr]
    assert site.prefix == prefix
    torch.testing.assert_close(calls[0], expected + position)
    assert calls[0].shape[1] == prefix + patches


def test_the_small_models_are_the_discovered_ones() -> None:
    others = {"torchvision", "timm", "airbench"}  # many models, with timm's in test_timm_sites.py; no residual blocks
    assert set(SMALL) - others <= set(BLOCKS)


def test_sites_survive_the_conversion_to_synchronized_norms() -> None:
    """Lightning's conversion builds new layers and forgets the forward hooks of the old ones."""
    from regulo.models.torchvision import Torchvision
    from regulo.regularizers.stochastic_depth import StochasticDepth
    from regulo.training.trainer import HookedSyncBatchNorm

    model = Torchvision(architecture="resnet18").build(COLOR)
    StochasticDepth(p=0.9).surgery(model, COLOR)
    names_with_hooks = {name for name, m in model.named_modules() if m._forward_hooks}
    sync_model = HookedSyncBatchNorm().apply(model)
    assert any(isinstance(m, torch.nn.SyncBatchNorm) for m in sync_model.modules())
    assert {name for name, m in sync_model.named_modules() if m._forward_hooks} == names_with_hooks


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copied", "pickled"])
def test_the_rate_site_of_a_copy_sets_the_rate_of_the_copy(duplicate: Any) -> None:
    model = nn.Sequential(nn.MultiheadAttention(4, 1), nn.MultiheadAttention(4, 1))
    for attention in model:
        attention.add_module("site", RateSite("attention", attention, "dropout"))
    twin = duplicate(model)
    for k, site in enumerate(find_sites(twin, "attention"), start=1):
        site.set_rate(k / 10)
    assert [attention.dropout for attention in twin] == [0.1, 0.2]
    assert [attention.dropout for attention in model] == [0.0, 0.0]
    assert all(site.owner is attention for site, attention in zip(find_sites(twin, "attention"), twin, strict=True))
    assert list(twin.modules())[2] is not twin[1], "an owner is no child of its site"


def test_a_rate_site_keeps_no_model_alive_and_says_so_when_its_owner_is_gone() -> None:
    site = RateSite("attention", nn.MultiheadAttention(4, 1), "dropout")
    with pytest.raises(ReferenceError, match="no longer exists"):
        site.set_rate(0.1)
