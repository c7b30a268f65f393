"""Weights from files: the known wrappings and prefixes, what is left out, and what does not fit."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regulo.core import registry
from regulo.core.errors import InputError
from regulo.core.types import DatasetInfo
from regulo.models.components.weights import build_with_weights
from regulo.models.resnet_small import ResNetSmall
from tests.conftest import COLOR, GRAY, SMALL, FinishedRun, build_model

NAMES = registry.list_plugins("model")
OTHERS = {"torchvision": {"architecture": "mobilenet_v3_small"}}  # names of its own weights begin with `classifier.`
FIELDS = SMALL | OTHERS
State = dict[str, Tensor]


def source_state(name: str, dataset_info: DatasetInfo = GRAY) -> State:
    """A state dict that no new model has: every tensor is changed."""
    state = build_model(name, dataset_info, **OTHERS.get(name, {})).state_dict()
    for tensor in state.values():
        tensor.add_(1)
    return state


def load(name: str, file: Path, dataset_info: DatasetInfo = GRAY) -> tuple[nn.Module, str]:
    torch.manual_seed(0)
    config = registry.get_plugin("model", name)(**FIELDS.get(name, {}) | {"weights": str(file)})
    return build_with_weights(config, dataset_info)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


SCRIPT = {"optimizer": {"state": {}}, "epoch": 3, "args": argparse.Namespace(model="resnet18", lr=0.1)}
FORMS: dict[str, Callable[[State], dict[str, Any]]] = {
    "state dict": lambda s: s,
    "torchvision's script": lambda s: {"model": s, "model_ema": prefixed(s, "module."), **SCRIPT},
    "timm": lambda s: {"state_dict": s, "arch": "resnet18", **SCRIPT},
    "Lightning": lambda s: {"state_dict": {**prefixed(s, "model."), "criterion.weight": torch.ones(3)}, "hyper_parameters": {}},
    "torch's tutorial": lambda s: {"model_state_dict": s, "loss": 0.5},
    "DistributedDataParallel": lambda s: prefixed(s, "module."),
    "torch.compile": lambda s: prefixed(s, "_orig_mod."),
    "both": lambda s: {"model": prefixed(s, "module._orig_mod.")},
    "AveragedModel": lambda s: {"n_averaged": torch.tensor(5), **prefixed(s, "module.")},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_every_model_takes_every_known_form(name: str, form: str, tmp_path: Path) -> None:
    state = source_state(name)
    torch.save(FORMS[form](state), tmp_path / "w.pth")
    model, note = load(name, tmp_path / "w.pth")
    assert all(tensor.equal(state[key]) for key, tensor in model.state_dict().items())
    assert note.startswith(f"weights: {len(state)} tensors of {tmp_path / 'w.pth'}")
    assert ("; 1 others are not of the model" in note) is (form in ("Lightning", "AveragedModel"))


@pytest.mark.parametrize("name", NAMES)
def test_a_head_of_another_size_is_left_out_and_said(name: str, tmp_path: Path) -> None:
    other = DatasetInfo(1, 28, 28, ("a", "b", "c"), (0.3,), (0.3,))
    state = source_state(name, other)
    torch.save(state, tmp_path / "w.pth")
    model, note = load(name, tmp_path / "w.pth")
    changed = [key for key, tensor in model.state_dict().items() if not tensor.equal(state[key])]
    head = changed[0].rpartition(".")[0]
    assert changed == [key for key in (f"{head}.weight", f"{head}.bias") if key in state]
    assert note.endswith(f"; its head {head} of 3 classes is left out: one of 10 begins at zero")
    torch.save({key: tensor for key, tensor in state.items() if key not in changed}, tmp_path / "w.pth")
    model, note = load(name, tmp_path / "w.pth")
    assert note.endswith(f"; it has no head {head}, which begins at zero")


@pytest.mark.parametrize(("ours", "theirs"), [(GRAY, COLOR), (COLOR, GRAY)], ids=["color to gray", "gray to color"])
def test_filters_for_other_channels_see_a_gray_image_as_before(ours: DatasetInfo, theirs: DatasetInfo, tmp_path: Path) -> None:
    state = source_state("resnet_small", theirs)
    torch.save(state, tmp_path / "w.pth")
    model, note = load("resnet_small", tmp_path / "w.pth", ours)
    torch.testing.assert_close(model.conv.weight.sum(1), state["conv.weight"].sum(1))  # type: ignore[union-attr, operator]
    assert f"conv.weight is adapted from {theirs.channels} to {ours.channels} channel" in note


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = source_state("resnet_small")
    for content, expected in (
        (
            {k: v for k, v in state.items() if "norm2" not in k},
            r"another model: missing: blocks\.0\.norm2\.weight, .* and 9 more$",
        ),
        (state | {"blocks.9.x": torch.ones(1)}, r"another model: unexpected: blocks\.9\.x$"),
        (state | {"norm.bias": torch.ones(5)}, r"another model: of another shape: norm\.bias \(5, and 4 in the model\)$"),
        ({"epoch": 3, "args": {}}, r"has no weights by name, only epoch, args — .*'state_dict' or 'model'"),
        ([1, 2], r"has no weights by name — "),
    ):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(InputError, match=r"^model\.weights: .*w\.pth " + ".*" + expected) as refusal:
            load("resnet_small", tmp_path / "w.pth")
        assert "any size" not in str(refusal.value)
    with pytest.raises(InputError, match=r"^model\.weights: there is no file .*nowhere"):
        load("resnet_small", tmp_path / "nowhere")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    with pytest.raises(InputError, match=r"^model\.weights: .* is not the folder of a finished run"):
        load("resnet_small", tmp_path / "run")


class Payload:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> object:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_file_is_not_run_and_says_what_it_holds(zipped: bool, tmp_path: Path) -> None:
    content = {"fc.weight": Payload(tmp_path / "owned")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"^model\.weights: .*w\.pth holds more than weights: getattr, .*state_dict"):
        load("torchvision", tmp_path / "w.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"holds more than weights: torch\.nn\.modules\.linear\.Linear"):
        load("resnet_small", tmp_path / "w.pth")
    assert not (tmp_path / "owned").exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    torch.save(source_state("resnet_small"), tmp_path / "w.pth")
    raw = bytearray((tmp_path / "w.pth").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "w.pth").write_bytes(raw)
    with pytest.raises(InputError, match=r"^model\.weights: .* is not a whole file of weights: .*checksum.* — copy or download"):
        load("resnet_small", tmp_path / "w.pth")


def test_a_run_takes_the_weights_of_another_run(finished_run: FinishedRun, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    final = finished_run.folder / "checkpoints" / f"{finished_run.result['weights']}.ckpt"
    state = torch.load(final, weights_only=True)["state_dict"]
    for weights in (finished_run.folder, final):
        model, note = build_with_weights(ResNetSmall(width=4, weights=str(weights)), GRAY)
        assert all(tensor.equal(state[f"classifier.model.{key}"]) for key, tensor in model.state_dict().items())
        assert note == f"weights: {len(model.state_dict())} tensors of {final}, its 'state_dict'"
    with pytest.raises(InputError, match=r"of another shape: conv\.weight .*that run has model=resnet_small .*model\.width=4"):
        build_with_weights(ResNetSmall(width=8, weights=str(final)), GRAY)
    run(f"model.weights={finished_run.folder}", "trainer.max_epochs=1")
    assert note in capsys.readouterr().out.replace("~", str(Path.home()))
