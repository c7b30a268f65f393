"""Numbers that are not finite."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.conftest import EPOCH, NOTHING, SETTINGS, Fault


@pytest.mark.fault(
    "The learning rate is far too high: the loss is no longer finite",
    says="regulo: the run failed: the training loss is … in epoch 0, step …; no epoch was finished. Try a lower optim.lr",
    code=1,
    keeps=SETTINGS,
)
def test_too_high_a_rate(fault: Fault) -> None:
    fault.train("optim.lr=1e30")


@pytest.mark.fault(
    "The loss becomes NaN or infinite",
    says="regulo: the run failed: the training loss is … in epoch 1, step 2; the weights of epoch 0 are kept. Try…",
    code=1,
    keeps=EPOCH,
)
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_loss(value: str, fault: Fault, in_epoch_1: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.regularizers.components import plan

    original = plan.Plan.loss

    def loss(self: Any, *arguments: Any) -> Any:
        total, parts = original(self, *arguments)
        return total * float(value), {name: part * float(value) for name, part in parts.items()}

    in_epoch_1(lambda _: monkeypatch.setattr(plan.Plan, "loss", loss))
    fault.train()


@pytest.mark.fault(
    "Gradients become NaN or infinite while the loss is finite",
    says="regulo: the run failed: the … loss is … in epoch 1…; the weights of epoch 0 are kept. Try…",
    code=1,
    keeps=EPOCH,
)
@pytest.mark.parametrize(
    ("value", "more"),
    [
        ("nan", "optim.grad_clip_norm=1"),
        ("inf", "+regularizer=ema"),
        ("nan", "+regularizer=sam"),
        ("inf", "trainer.log_every_n_steps=50"),
    ],
)
def test_gradients(value: str, more: str, fault: Fault, in_epoch_1: Any) -> None:
    def inject(task: Any) -> None:
        next(task.parameters()).register_hook(lambda gradient: torch.full_like(gradient, float(value)))

    in_epoch_1(inject)
    fault.train(more)


@pytest.mark.fault(
    "A batch holds NaN when it reaches the model",
    says="regulo: the run failed: the training loss is nan in epoch 1, step 2; the weights of epoch 0 are kept. Try…",
    code=1,
    keeps=EPOCH,
)
def test_inputs(fault: Fault, in_epoch_1: Any) -> None:
    in_epoch_1(lambda task: task.classifier.mean.fill_(float("nan")))
    fault.train()


MOBILENET = ["model=torchvision", "~model.width", "model.architecture=mobilenet_v3_small", "model.small_stem=false"]


@pytest.mark.fault(
    "The file of pretrained weights holds NaN",
    says="model: features.0.0.weight holds numbers that are not finite before training has begun — look at the file",
    code=2,
    keeps=NOTHING,
)
def test_pretrained_nan(fault: Fault, tmp_path: Path) -> None:
    from torchvision.models import mobilenet_v3_small

    weights = mobilenet_v3_small().state_dict()
    weights["features.0.0.weight"][0] = float("nan")
    torch.save(weights, tmp_path / "weights.pth")
    fault.train(*MOBILENET, f"model.weights={tmp_path / 'weights.pth'}")


@pytest.mark.fault(
    "The file of pretrained weights is torn",
    says="model.weights: … is not a whole file of weights: … — copy or download it again",
    code=2,
    keeps=NOTHING,
)
@pytest.mark.parametrize("size", [0, 1000])
def test_pretrained_torn(size: int, fault: Fault, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes((tmp_path / "weights.pth").read_bytes()[:size])
    fault.train(*MOBILENET, f"model.weights={tmp_path / 'weights.pth'}")
