"""Techniques for a model with pretrained weights: what is trained when, and how far from its first weights."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from regulo.__main__ import main
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.types import LossInputs, soft_cross_entropy
from regulo.evaluation import restore
from regulo.models.components.head import find_head
from regulo.models.components.sites import Site
from regulo.optim.adamw import AdamW
from regulo.optim.sgd import SGD
from regulo.regularizers.base import Goal, Regularizer
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.l2_sp import L2SP
from regulo.regularizers.linear_probe import LinearProbe
from regulo.regularizers.wise_ft import WiSEFT
from regulo.tracking.checkpoint_io import read_checkpoint
from regulo.tracking.run_dir import RunFolder
from regulo.training.checkpointing import ResumeCheckpoint
from regulo.training.module import ClassificationModule
from tests.conftest import COLOR, GRAY, FinishedRun, build_model
from tests.interruptions import differences, rows
from tests.regularizers.flow import technique
from tests.test_module import fit, make_batches, make_module

State = dict[str, Tensor]
GOAL = Goal("val/loss", "min")
PLAIN_SGD = SGD(lr=0.1, momentum=0.0, nesterov=False, schedule="constant", warmup=0.0)
PER_EPOCH = 4


def snapshot(module: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changes(one: State, other: State) -> set[str]:
    return {name for name in one if not one[name].equal(other[name])}


class Recorder(Callback):
    """The state of the model before the first step and after each, and what the optimizer has a state for."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.with_optimizer_state: list[int] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.states.append(snapshot(pl_module.classifier.model))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.states.append(snapshot(pl_module.classifier.model))
        self.with_optimizer_state.append(len(trainer.optimizers[0].state_dict()["state"]))


def train(
    plan: list[Regularizer], optim: Any = PLAIN_SGD, epochs: int = 2, extra: tuple[Callback, ...] = (), **options: Any
) -> tuple[ClassificationModule, Recorder]:
    """A run of `epochs` · 4 steps on 8 images each."""
    torch.manual_seed(0)
    module, recorder = make_module("none", optim), Recorder()
    module.plan = Plan(plan)
    module.plan.surgery(module.classifier.model, GRAY)
    callbacks = [*module.plan.callbacks(GOAL), recorder, *extra]
    fit(module, make_batches(PER_EPOCH), callbacks=callbacks, max_epochs=epochs, **options)
    return module, recorder


# ---- the head


@pytest.mark.parametrize(
    ("model", "fields", "names"),
    [
        ("resnet_small", {}, ("head",)),
        ("vit_tiny", {}, ("head",)),
        ("torchvision", {}, ("fc",)),
        ("torchvision", {"architecture": "mobilenet_v3_small"}, ("classifier.3",)),
        ("torchvision", {"architecture": "squeezenet1_1"}, ("classifier.1",)),
    ],
)
def test_the_head_is_the_layer_of_the_logits(model: str, fields: dict[str, Any], names: tuple[str, ...]) -> None:
    head = find_head(build_model(model, COLOR, **fields), "regularizer.linear_probe")
    assert head.names == names
    assert f"{names[0]}.weight" in head
    assert f"{names[0]}2.weight" not in head


@pytest.mark.parametrize(
    "layers", [[nn.Flatten(), nn.Linear(4, 2)], [Site("fc"), nn.Linear(4, 2)], [nn.Linear(4, 2), Site("fc")]]
)
def test_a_model_without_a_site_between_backbone_and_head_is_refused(layers: list[nn.Module]) -> None:
    with pytest.raises(InputError, match=r"linear_probe: .*between a backbone and a head"):
        Plan([LinearProbe()]).surgery(nn.Sequential(*layers), GRAY)


# ---- linear_probe


@pytest.mark.formula("linear_probe")
def test_the_probe_is_softmax_regression_on_the_features_of_the_frozen_backbone() -> None:
    _, recorder = train([LinearProbe(share=1.0)])
    model = build_model("resnet_small", GRAY).eval().double()
    features: list[Tensor] = []
    model.head.register_forward_pre_hook(lambda _, args: features.append(args[0].detach()))  # type: ignore[union-attr]
    weight, bias = (p.detach().clone() for p in model.head.parameters())  # type: ignore[union-attr]
    classifier = make_module("none").classifier
    for step in range(8):
        batch = make_batches(PER_EPOCH)[step % PER_EPOCH]
        model(classifier.normalize(batch.images).double())
        x = features.pop()
        error = (x @ weight.T + bias).softmax(1) - nn.functional.one_hot(batch.labels, 10)
        weight, bias = weight - 0.1 * error.T @ x / len(x), bias - 0.1 * error.mean(0)
    torch.testing.assert_close(recorder.states[-1]["head.weight"].double(), weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(recorder.states[-1]["head.bias"].double(), bias, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("others", [[], ["weight_decay", "max_norm"], ["sam", "lookahead", "dropout"]], ids="+".join)
def test_nothing_but_the_head_changes_before_the_share_and_everything_after(others: list[str]) -> None:
    fields = {"weight_decay": {"rate": {"start": 0.1, "end": 0.2}}, "max_norm": {"c": 0.01}, "lookahead": {"k": 1}}
    plan = [technique(name, **fields.get(name, {})) for name in others]
    module, recorder = train([LinearProbe(share=0.4), *plan], AdamW(lr=0.01))  # 8 steps: the first 4 are below .4
    states = recorder.states
    head = {"head.weight", "head.bias"}
    assert [changes(a, b) for a, b in itertools.pairwise(states[:5])] == [head] * 4, "with BatchNorm's statistics"
    assert changes(states[4], states[5]) == set(states[0]), "and its counters"
    parameters = len(list(module.classifier.model.parameters()))
    assert recorder.with_optimizer_state == [2] * 4 + [parameters] * 4
    assert all(m.training for m in module.classifier.model.modules() if isinstance(m, nn.BatchNorm2d))


def test_a_frozen_backbone_keeps_no_activations_for_a_backward_pass() -> None:
    class Look(Callback):
        needed: list[bool] = []

        def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            pl_module.classifier.model.site.register_forward_pre_hook(lambda _, args: self.needed.append(args[0].requires_grad))

    train([LinearProbe(share=1.0)], epochs=1, extra=(Look(),), limit_train_batches=1, limit_val_batches=0)
    assert Look.needed == [False]


# ---- l2_sp


@pytest.mark.formula("l2_sp")
def test_l2_sp_is_its_sum_in_float64_and_pulls_back_by_the_distance() -> None:
    model = build_model("resnet_small", GRAY).double()
    r = L2SP(alpha=0.3, beta=0.07).surgery(model, GRAY)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}

    def penalty() -> Tensor:
        empty = torch.zeros(1)
        return r.penalty(LossInputs(model, empty, empty, empty, soft_cross_entropy))

    head_norm = sum(float((start[name] ** 2).sum()) for name in ("head.weight", "head.bias"))
    assert penalty().item() == pytest.approx(0.07 / 2 * head_norm, rel=1e-12), "nothing has moved"
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=torch.float64))
    penalty().backward()
    total = 0.0
    for name, p in model.named_parameters():
        rate, origin = (0.07, 0.0) if name.startswith("head.") else (0.3, start[name])
        total += rate / 2 * float(((p.detach() - origin) ** 2).sum())
        torch.testing.assert_close(p.grad, rate * (p.detach() - origin), rtol=1e-12, atol=0)
    assert penalty().item() == pytest.approx(total, rel=1e-12)


def test_l2_sp_is_refused_beside_weight_decay() -> None:
    with pytest.raises(InputError, match="beta is the decay of the head"):
        compose.load_config(["regularizer=[l2_sp,weight_decay]"])


# ---- wise_ft


def interpolate(checkpoint: dict[str, Any], share: float) -> State:
    """(1 − α) θ⁰ + α θ, and θ in the head, from what a checkpoint holds."""
    first = checkpoint["initial_state_dict"]
    trained = {key.removeprefix("classifier.model."): tensor for key, tensor in checkpoint["raw_state_dict"].items()}
    in_head = {"head.weight", "head.bias"}
    return {n: t if n in in_head or not t.is_floating_point() else (1 - share) * first[n] + share * t for n, t in trained.items()}


def weights_of(checkpoint: dict[str, Any]) -> State:
    return {key.removeprefix("classifier.model."): tensor for key, tensor in checkpoint["state_dict"].items()}


@pytest.mark.formula("wise_ft")
def test_the_share_has_the_lowest_validation_loss_and_its_weights_are_validated_saved_and_scored(
    run: Any, finished_run: FinishedRun
) -> None:
    shares = [0.0, 0.2, 0.6, 1.0]
    group_norm = ["regularizer.norm.kind=group", "regularizer.norm.groups=2"]  # without statistics
    words = ["regularizer=[norm,wise_ft]", f"regularizer.wise_ft.shares={shares}", f"model.weights={finished_run.folder}"]
    folder, result = run(*words, *group_norm, "optim.lr=0.5")
    checkpoint = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    torch.testing.assert_close(weights_of(checkpoint), interpolate(checkpoint, result["interpolation"]), rtol=1e-5, atol=1e-6)
    weights = read_checkpoint(finished_run.folder / "checkpoints" / f"{finished_run.result['weights']}.ckpt")
    assert checkpoint["initial_state_dict"]["conv.weight"].equal(weights_of(weights)["conv.weight"])

    loaded = restore.load_run(RunFolder(folder))
    loader = restore.open_run_data(loaded).evaluation_loader("val")
    losses = {}
    for share in shares:
        loaded.classifier.model.load_state_dict(interpolate(checkpoint, share))
        losses[share] = loaded.predict_loader(loader).scores()["loss"]
    assert result["interpolation"] == min(losses, key=losses.__getitem__)
    assert len({round(loss, 3) for loss in losses.values()}) == len(shares), "they differ"
    assert result["val/loss"] == pytest.approx(min(losses.values()), rel=1e-5)
    validated = [float(row["val/loss"]) for row in rows(folder) if row["val/loss"]]
    assert validated[-1] == pytest.approx(result["val/loss"], rel=1e-5)


@pytest.mark.formula("wise_ft")
def test_the_statistics_are_torchs_update_bn_and_training_goes_on_with_the_raw_weights(tmp_path: Path) -> None:
    class Save(Callback):
        images: list[Tensor] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            self.images.append(outputs["images"])

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.save_checkpoint(tmp_path / "last.ckpt")

    _, recorder = train([WiSEFT(shares=[0.5], statistics=2)], extra=(Save(),))
    _, plain = train([])
    assert changes(recorder.states[-1], plain.states[-1]) == set()
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["interpolation"] == 0.5
    model = build_model("resnet_small", GRAY)
    model.load_state_dict(interpolate(checkpoint, 0.5))
    torch.optim.swa_utils.update_bn(Save.images[-2:], model)
    expected = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    saved = {name: tensor for name, tensor in weights_of(checkpoint).items() if name in expected}
    torch.testing.assert_close(saved, expected, rtol=1e-5, atol=1e-6)


def test_of_equally_good_shares_the_largest_is_taken(run: Any) -> None:
    _, result = run("regularizer=wise_ft", "regularizer.wise_ft.shares=[0.25,0.5]", "optim.lr=1e-30", "callbacks=none")
    assert result["interpolation"] == 0.5


def test_while_only_the_head_learns_there_is_nothing_to_choose_and_the_statistics_stay(run: Any) -> None:
    words = ["regularizer=[linear_probe,wise_ft]", "regularizer.linear_probe.share=1.0", "regularizer.wise_ft.shares=[0.25,0.5]"]
    folder, result = run(*words)
    assert result["interpolation"] == 0.5
    checkpoint = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    torch.testing.assert_close(weights_of(checkpoint), interpolate(checkpoint, 1.0), rtol=0, atol=0)


# ---- stopped and gone on


def test_a_run_that_goes_on_before_at_or_after_the_change_equals_the_unbroken_one(
    run: Any, finished_run: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, weights = ResumeCheckpoint.save, tmp_path / "weights"

    def save_and_copy(self: ResumeCheckpoint, trainer: Any) -> None:
        save(self, trainer)
        shutil.copytree(self.path.parents[1], tmp_path / f"step{trainer.global_step}")

    shutil.copytree(finished_run.folder, weights)
    monkeypatch.setattr(ResumeCheckpoint, "save", save_and_copy)
    words = ["regularizer=[linear_probe,l2_sp,wise_ft]", "regularizer.linear_probe.share=0.4", f"model.weights={weights}"]
    words.append("regularizer.wise_ft.statistics=1")  # no checkpoint can be saved while images are collected for them
    steps = ["trainer.max_epochs=2", "trainer.limit_batches=4", "trainer.save_every_n_steps=1"]
    unbroken, _ = run(*words, *steps)
    monkeypatch.setattr(ResumeCheckpoint, "save", save)
    shutil.rmtree(weights)
    first = read_checkpoint(unbroken / "checkpoints" / "last.ckpt")["initial_state_dict"]
    for step in (2, 4):  # at 4 an epoch ends and the backbone begins to learn
        folder = tmp_path / f"step{step}"
        assert main(["train", "--resume", str(folder)]) == 0
        assert differences(unbroken, folder) == []
        assert not changes(first, read_checkpoint(folder / "checkpoints" / "last.ckpt")["initial_state_dict"])
