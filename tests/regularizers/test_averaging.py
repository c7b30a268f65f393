"""Averaged weights: closed forms, and that the average is validated, saved, tested and final."""

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from regulo.config import compose
from regulo.config.trainer import TrainerConfig
from regulo.core.errors import InputError
from regulo.core.types import Batch
from regulo.distributed.preemption import StopRequest
from regulo.optim.sgd import SGD
from regulo.regularizers.base import Goal
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.components.weight_averaging import PREFIX, WeightAveragingCallback, update_bn
from regulo.regularizers.ema import EMA
from regulo.regularizers.swa import SWA
from regulo.tracking.checkpoint_io import load_final_checkpoint, load_weights, read_checkpoint
from regulo.training.checkpointing import checkpoint_callbacks
from regulo.training.module import ClassificationModule
from tests.conftest import GRAY, build_model, images_of
from tests.test_module import fit, make_batches, make_module

State = dict[str, torch.Tensor]
GOAL = Goal("val/loss", "min")


def snapshot(model: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a: State, b: State, **tolerance: float) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name].double(), b[name].double(), msg=lambda m, n=name: f"{n}: {m}", **tolerance)


class Run:
    """A short training run, with every state that it passes through."""

    def __init__(self, technique: Any, folder: Path, epochs: int, per_epoch: int = 3, **options: Any) -> None:
        from lightning.pytorch import Callback

        run = self
        self.steps: list[State] = []  # raw, after each step
        self.validation_states: list[State] = []  # as the validation batches met it
        self.began: list[bool] = []  # whether there was an average by then
        self.raw_after: list[State] = []  # after each validation
        self.images: list[torch.Tensor] = []  # normalized training images
        self.losses: list[float] = []

        class Look(Callback):
            def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, *_: Any) -> None:
                run.steps.append(snapshot(pl_module.classifier))
                run.images.append(pl_module.classifier.normalize(batch.images))

            def on_validation_batch_start(self, t: Any, pl_module: Any, b: Any, i: int, dataloader_idx: int = 0) -> None:
                if dataloader_idx == 0:
                    run.validation_states.append(snapshot(pl_module.classifier))
                    run.began.append(bool(run.averaging.average))

            def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
                run.raw_after.append(snapshot(pl_module.classifier))
                run.losses.append(float(trainer.callback_metrics["val/loss"]))

        self.plan = Plan([technique])
        self.task = make_module("none", SGD(lr=0.1, schedule="constant", warmup=0.0))
        self.task.plan = self.plan
        self.task.checkpoint_extra = {"config": {"trainer": {"max_epochs": epochs}}}
        callbacks = self.plan.callbacks(GOAL)
        (self.averaging,) = callbacks
        assert isinstance(self.averaging, WeightAveragingCallback)
        callbacks = [*callbacks, Look(), *checkpoint_callbacks(folder, GOAL, TrainerConfig(), StopRequest(None))]
        fit(self.task, make_batches(per_epoch), callbacks=callbacks, max_epochs=epochs, enable_checkpointing=True, **options)
        self.last, self.best = read_checkpoint(folder / "last.ckpt"), read_checkpoint(folder / "best.ckpt")


def of(checkpoint: dict[str, Any], key: str = "state_dict") -> State:
    return {name.removeprefix(PREFIX): tensor for name, tensor in checkpoint[key].items()}


# ---- the recurrence


def ema_by_hand(states: list[torch.Tensor], half_life_in_steps: float) -> torch.Tensor:
    """Σ_i w_i θ_i: the weight of a state is (1 − d_i) times all later d's; the first state starts the average."""
    decays = [min(0.5 ** (1 / half_life_in_steps), (1 + t) / (10 + t)) for t in range(len(states))]
    total = torch.zeros_like(states[0], dtype=torch.float64)
    for i, state in enumerate(states):
        weight = 1.0 if i == 0 else 1 - decays[i]
        for later in decays[i + 1 :]:
            weight *= later
        total += weight * state.double()
    return total


@pytest.mark.formula("ema")
@pytest.mark.parametrize(("half_life", "steps"), [(0.02, 100), (0.1, 400), (1.0, 50)])
def test_ema_is_its_weighted_sum_with_the_warm_up(half_life: float, steps: int) -> None:
    ema, model = EMA(half_life=half_life), nn.Linear(3, 2).double()
    averaging = WeightAveragingCallback(ema.weight)
    states = []
    for t in range(steps):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(t)))
        states.append(model.weight.detach().clone())
        averaging.update_average(model, ema.weight(averaging.count, (t + 1) / steps, steps))
    torch.testing.assert_close(averaging.average["weight"], ema_by_hand(states, half_life * steps), rtol=1e-10, atol=1e-12)


def test_after_the_warm_up_a_state_counts_half_after_the_half_life() -> None:
    ema = EMA(half_life=0.05)
    steps = 2000
    decays = [1 - ema.weight(t, 0.5, steps) for t in range(steps)]
    assert torch.tensor(decays[1900:2000]).prod().item() == pytest.approx(0.5, rel=1e-4)
    assert decays[0] == pytest.approx(0.1)
    assert all(a <= b for a, b in itertools.pairwise(decays))


def test_at_strength_0_the_average_is_the_last_state_bit_for_bit() -> None:
    ema, model = EMA().with_strength(0), build_model("resnet_small", GRAY).train()
    averaging = WeightAveragingCallback(ema.weight)  # type: ignore[union-attr]
    for _ in range(3):
        model(images_of(GRAY))
        nn.init.normal_(model.head.weight)  # type: ignore[union-attr, arg-type]
        averaging.update_average(model, ema.weight(averaging.count, 0.1, 10))  # type: ignore[union-attr]
    assert all(t.equal(averaging.average[n]) for n, t in model.state_dict().items())
    none = SWA().with_strength(0)
    assert all(none.weight(0, p / 10, 10) is None for p in range(11))  # type: ignore[union-attr]


def test_counters_are_copied_and_not_averaged() -> None:
    model = build_model("resnet_small", GRAY).train()
    averaging = WeightAveragingCallback(EMA(half_life=1.0).weight)
    for t in range(20):
        model(images_of(GRAY))
        averaging.update_average(model, EMA(half_life=1.0).weight(t, 0.5, 100))
    assert averaging.average["norm.num_batches_tracked"] == 20
    assert averaging.average["norm.num_batches_tracked"].dtype == torch.int64
    assert not averaging.average["norm.running_mean"].equal(model.norm.running_mean)  # type: ignore[union-attr, arg-type]


# ---- EMA in a run


@pytest.fixture(scope="module")
def ema(tmp_path_factory: Any) -> Run:
    return Run(EMA(half_life=0.3), tmp_path_factory.mktemp("ema"), epochs=3)


def test_what_ema_validates_keeps_and_hands_on_is_the_average_and_training_goes_on_raw(ema: Run) -> None:
    assert len(ema.steps) == 9
    for epoch in range(3):
        past = ema.steps[: 3 * (epoch + 1)]
        for name, tensor in ema.validation_states[epoch].items():
            expected = ema_by_hand([s[name] for s in past], 0.3 * 9) if tensor.is_floating_point() else past[-1][name]
            torch.testing.assert_close(tensor.double(), expected.double(), rtol=1e-5, atol=1e-6, msg=name)
        same(ema.raw_after[epoch], past[-1], rtol=0, atol=0)  # the raw weights come back exactly
        assert not ema.validation_states[epoch]["model.head.weight"].allclose(past[-1]["model.head.weight"])
    best = min(range(3), key=ema.losses.__getitem__)
    for checkpoint, epoch in ((ema.last, 2), (ema.best, best)):
        assert checkpoint["epoch"] == epoch
        same(of(checkpoint), ema.validation_states[epoch], rtol=0, atol=0)
        same(of(checkpoint, "raw_state_dict"), ema.steps[3 * epoch + 2], rtol=0, atol=0)
        assert checkpoint["averaged_states"] == 3 * (epoch + 1)


def test_the_final_test_is_of_the_averaged_weights(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.evaluation import inference, restore
    from regulo.tracking import run_dir

    test_states: list[State] = []
    plain = inference.run_inference

    def spy(classifier: Any, *arguments: Any, **options: Any) -> Any:
        test_states.append(snapshot(classifier))
        return plain(classifier, *arguments, **options)

    monkeypatch.setattr(inference, "run_inference", spy)
    folder, _ = run("regularizer=[ema]", "regularizer.ema.half_life=1.0", "optim.lr=0.5")
    checkpoint = read_checkpoint(folder / "checkpoints" / "last.ckpt")
    assert len(test_states) == 3
    for state in test_states:
        same(state, of(checkpoint), rtol=0, atol=0)
        assert not state["model.head.weight"].equal(of(checkpoint, "raw_state_dict")["model.head.weight"])
    run_model = restore.load_run(run_dir.RunFolder.open(folder))
    same(snapshot(run_model.classifier), of(checkpoint), rtol=0, atol=0)


# ---- SWA in a run


@pytest.fixture(scope="module")
def swa(tmp_path_factory: Any) -> Run:
    return Run(SWA(share=0.5, statistics=2), tmp_path_factory.mktemp("swa"), epochs=4)


def is_statistic(name: str) -> bool:
    return "running" in name or "tracked" in name


@pytest.mark.formula("swa")
def test_swa_is_the_mean_of_the_states_at_the_ends_of_the_last_epochs(swa: Run) -> None:
    ends = swa.steps[2::3]
    for epoch, members in ((2, ends[2:3]), (3, ends[2:4])):
        for name, tensor in swa.validation_states[epoch].items():
            if not is_statistic(name):
                mean = torch.stack([s[name].double() for s in members]).mean(0)
                torch.testing.assert_close(tensor.double(), mean, rtol=1e-6, atol=1e-7, msg=name)
    same(swa.raw_after[3], ends[3], rtol=0, atol=0)


def test_nothing_is_averaged_before_the_share(swa: Run) -> None:
    assert swa.began == [False, False, True, True]
    for epoch in (0, 1):
        same(swa.validation_states[epoch], swa.steps[3 * epoch + 2], rtol=0, atol=0)
    assert [SWA(share=0.25).weight(0, p, 100) is None for p in (0.1, 0.5, 0.75, 0.76, 1.0)] == [True, True, True, False, False]
    assert SWA(share=1.0).weight(0, 0.01, 100) == 1.0


@pytest.mark.formula("swa")
def test_the_averages_statistics_are_torchs_update_bn_on_the_last_batches(swa: Run) -> None:
    for epoch in (2, 3):
        model = copy.deepcopy(swa.task.classifier)
        model.load_state_dict(swa.validation_states[epoch])
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.reset_running_stats()
        last_two = swa.images[3 * epoch + 1 : 3 * epoch + 3]
        torch.optim.swa_utils.update_bn(last_two, model.model)
        same(swa.validation_states[epoch], snapshot(model), rtol=1e-5, atol=1e-6)


def test_swas_checkpoints_hold_the_average_once_it_has_begun(swa: Run) -> None:
    same(of(swa.last), swa.validation_states[3], rtol=0, atol=0)
    same(of(swa.last, "raw_state_dict"), swa.steps[-1], rtol=0, atol=0)
    assert swa.last["averaged_states"] == 2
    best = min(range(4), key=swa.losses.__getitem__)
    assert swa.best["epoch"] == best
    same(of(swa.best), swa.validation_states[best], rtol=0, atol=0)


def test_a_run_hands_on_the_mean_and_it_scores_as_it_was_validated(swa: Run, tmp_path: Path) -> None:
    class Folder:
        path, checkpoints = tmp_path, tmp_path

    torch.save(swa.last, tmp_path / "last.ckpt")
    classifier = copy.deepcopy(swa.task.classifier).eval()
    load_weights(classifier, load_final_checkpoint(Folder(), swa.plan.keeps_best))  # type: ignore[arg-type]
    batch = make_batches(1)[0]
    with torch.no_grad():
        loss = nn.functional.cross_entropy(classifier(batch.images), batch.labels).item()
    assert loss == pytest.approx(swa.losses[-1], rel=1e-5)


def test_estimating_statistics_changes_nothing_else() -> None:
    model = build_model("resnet_small", GRAY).eval()
    frozen = {n: m.momentum for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = snapshot(model)
    update_bn(model, [images_of(GRAY, 8, seed=s) for s in range(3)])
    after = snapshot(model)
    assert [n for n in before if not before[n].equal(after[n])] == [n for n in before if is_statistic(n)]
    assert not any(m.training for m in model.modules())
    assert {n: m.momentum for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)} == frozen


def test_a_model_without_batch_norm_needs_no_statistics() -> None:
    model = build_model("vit_tiny", GRAY)
    before = snapshot(model)
    model.register_forward_hook(lambda *_: pytest.fail("no forward pass is needed"))
    update_bn(model, [images_of(GRAY)])
    same(snapshot(model), before, rtol=0, atol=0)


@pytest.mark.parametrize("other", ["early_stopping", "ema"])
def test_swa_is_refused_beside_early_stopping_and_another_average(other: str) -> None:
    with pytest.raises(InputError, match="cannot run beside"):
        compose.load_config([f"regularizer=[swa,{other}]"])


def test_ema_runs_beside_early_stopping() -> None:
    plan = compose.load_config(["regularizer=[ema,early_stopping]"]).regularizer
    assert Plan(plan.values()).keeps_best


# ---- both


def test_averaging_does_not_touch_training(ema: Run, swa: Run) -> None:
    alone: ClassificationModule = make_module("none", SGD(lr=0.1, schedule="constant", warmup=0.0))
    fit(alone, make_batches(3), max_epochs=3)
    for run in (ema, swa):  # of 3 and 4 epochs
        same(run.steps[8], snapshot(alone.classifier), rtol=1e-3, atol=1e-5)  # sums may be ordered otherwise
        same(run.steps[-1], snapshot(run.task.classifier), rtol=0, atol=0)


def test_averaging_waits_for_nothing() -> None:
    from tests.test_module import SyncCounter

    model = build_model("resnet_small", GRAY)
    averaging = WeightAveragingCallback(EMA().weight)
    with SyncCounter() as waits:
        for t in range(3):
            averaging.update_average(model, EMA().weight(t, 0.1, 100))
        averaging.swap(model)
    assert waits.count == 0
