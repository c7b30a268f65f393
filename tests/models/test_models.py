import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from regulo.core import registry
from regulo.core.errors import InputError
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import find_sites
from regulo.models.components.weights import build_with_weights
from regulo.models.resnet_small import ResNetSmall
from regulo.models.torchvision import Torchvision
from regulo.models.vit_tiny import ViTTiny
from tests.conftest import COLOR, GRAY, SMALL, build_model, images_of


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (32, 48), (65, 65), (96, 130), (224, 224)])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["resnet_small", "vit_tiny"])
def test_any_image_size_and_channel_count(name: str, channels: int, height: int, width: int) -> None:
    dataset_info = DatasetInfo(channels, height, width, ("a", "b", "c"), (0.5,) * channels, (0.2,) * channels)
    logits = build_model(name, dataset_info)(images_of(dataset_info, 2))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", registry.list_plugins("model"))
def test_the_seed_decides_the_weights(name: str) -> None:
    models = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        models.append(registry.get_plugin("model", name)(**SMALL.get(name, {})).build(GRAY))
    one, same, other = (list(model.parameters()) for model in models)
    assert all(a.equal(b) for a, b in zip(one, same, strict=True))
    assert any(not a.equal(b) for a, b in zip(one, other, strict=True))


def test_the_default_resnet_has_its_published_shape() -> None:
    """6 n + 2 layers; 272,474 parameters at depth 20, width 16 with projection shortcuts and 3 channels (0.27 M in the paper)."""
    model = ResNetSmall(depth=20, width=16).build(DatasetInfo(3, 32, 32, tuple("abcdefghij"), (0.5,) * 3, (0.2,) * 3))
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(layers) + 1 == 20
    assert abs(sum(p.numel() for p in model.parameters()) - 272_474) < 3_000


def test_the_vit_attends_as_torchs_own_layer_does() -> None:
    """The encoder block against nn.TransformerEncoderLayer, with the same weights."""
    model = ViTTiny(width=16, heads=4, depth=1, mlp_ratio=2.0).build(GRAY).eval()
    ours = model.blocks[0]  # type: ignore[index]
    theirs = nn.TransformerEncoderLayer(16, 4, 32, 0.0, "gelu", norm_first=True, batch_first=True).eval()
    theirs.self_attn.in_proj_weight.data = ours.attention.qkv.weight.data
    theirs.self_attn.in_proj_bias.data = ours.attention.qkv.bias.data
    theirs.self_attn.out_proj.load_state_dict(ours.attention.out.state_dict())
    theirs.linear1.load_state_dict(ours.mlp[0].state_dict())
    theirs.linear2.load_state_dict(ours.mlp[3].state_dict())
    x = torch.randn(3, 16, 16)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_the_vit_pools_by_class_token_or_mean() -> None:
    by_class, by_mean = (ViTTiny(width=16, depth=1, pool=p).build(GRAY) for p in ("class", "mean"))  # type: ignore[arg-type]
    assert by_class.position.shape[1] == by_mean.position.shape[1] + 1 == 17  # type: ignore[union-attr, index]
    assert by_class.class_token is not None
    assert by_mean.class_token is None


# ---- torchvision

FAMILIES = {
    "resnet18": ("conv", "fc"),
    "vgg11_bn": ("conv", "fc"),
    "densenet121": ("conv", "fc"),
    "mobilenet_v3_small": ("conv", "fc"),
    "efficientnet_b0": ("conv", "fc"),
    "convnext_tiny": ("fc",),
    "regnet_y_400mf": ("conv", "fc"),
    "shufflenet_v2_x0_5": ("conv", "fc"),
    "squeezenet1_1": ("conv", "fc"),
    "mnasnet0_5": ("conv", "fc"),
    "googlenet": ("fc",),
    "vit_b_32": ("fc", "attention"),
    "swin_t": ("fc", "attention"),
}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_torchvisions_families_get_a_head_a_stem_and_sites(architecture: str) -> None:
    dataset_info = DatasetInfo(1, 64, 64, ("a", "b", "c"), (0.5,), (0.2,))
    model = Torchvision(architecture=architecture).build(dataset_info)
    assert model.eval()(images_of(dataset_info, 2)).shape == (2, 3)
    assert tuple(k for k in ("conv", "fc", "attention") if find_sites(model, k)) == FAMILIES[architecture]  # type: ignore[arg-type]
    assert not any(m.p for m in model.modules() if isinstance(m, nn.Dropout)), "the plan alone regularizes"


def test_sites_leave_torchvisions_state_dict_keys_and_outputs_alone() -> None:
    from torchvision.models import resnet18

    plain = resnet18(num_classes=5)
    ours = Torchvision(architecture="resnet18", small_stem=False).build(COLOR)
    ours.load_state_dict(plain.state_dict())
    x = images_of(COLOR)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x), rtol=0, atol=0)


def test_a_copied_model_acts_on_its_own_sites() -> None:
    model = Torchvision(small_stem=False).build(COLOR)
    twin = copy.deepcopy(model)
    for site in find_sites(twin, "fc"):
        site.insert(nn.Dropout(0.99))
    x = images_of(COLOR, 2)
    model.train()
    twin.train()
    for norm in (m for net in (model, twin) for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    assert model(x).equal(model(x))
    assert not twin(x).equal(twin(x))


def test_small_images_keep_their_resolution_up_to_the_first_stage() -> None:
    small, plain = (Torchvision(small_stem=s).build(COLOR) for s in (None, False))
    sizes = []
    for model in (small, plain):
        model.layer1.register_forward_hook(lambda m, i, o: sizes.append(o.shape[-1]))  # type: ignore[union-attr]
        model(images_of(COLOR, 2))
    assert sizes == [32, 8]


def test_a_wrong_architecture_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"model\.architecture.*resnet50"):
        Torchvision(architecture="resnet5O").build(COLOR)
    with pytest.raises(InputError, match=r"model\.weights.*IMAGENET1K_V1"):
        build_with_weights(Torchvision(architecture="resnet18", weights="IMAGENET1K_V9"), COLOR)


def test_pretrained_weights_come_from_a_file_or_from_torchvisions_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real loading code on a file made here: gray images see the color filters' sum."""
    from torchvision.models import ResNet18_Weights, resnet18

    torch.manual_seed(3)
    source = resnet18()
    torch.save(source.state_dict(), tmp_path / "mine.pth")
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    name = ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    (hub / name).write_bytes((tmp_path / "mine.pth").read_bytes())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for weights in (str(tmp_path / "mine.pth"), "IMAGENET1K_V1", "DEFAULT", True):
        model, _ = build_with_weights(Torchvision(weights=weights), GRAY)
        assert model.layer1[0].conv1.weight.equal(source.layer1[0].conv1.weight)  # type: ignore[index, union-attr, operator]
        torch.testing.assert_close(model.conv1.weight, source.conv1.weight.sum(1, keepdim=True))  # type: ignore[union-attr]
        assert model.fc.out_features == 10  # type: ignore[union-attr]


def test_a_failed_download_of_weights_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from urllib.error import URLError

    import torch.hub

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        InputError,
        match=r"no network — download https://\S+pth where .*, and place it in .*checkpoints, or give .*model\.weights=FILE",
    ):
        build_with_weights(Torchvision(weights=True), COLOR)


def test_a_torn_file_in_torchvisions_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights

    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    (hub / ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]).write_bytes(b"torn")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        InputError,
        match=r"^model\.weights: torchvision cannot read IMAGENET1K_V1 of resnet18.*remove resnet18\S+ from .*checkpoints",
    ):
        build_with_weights(Torchvision(weights=True), COLOR)
