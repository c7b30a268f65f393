"""The learning-rate range test: what is read from a curve, and that nothing of a run changes."""

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regulo.__main__ import main
from regulo.analysis.tuning.range_test import range_test, read_curve
from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.types import Batch
from regulo.training.build import RunComponents, build_components

RATES = np.geomspace(1e-5, 10, 120)


def build(*overrides: str) -> RunComponents:
    fixed = ["trainer.precision=32-true", "trainer.memory_format=contiguous", "data.num_workers=0", "trainer=cpu"]
    return build_components(compose.load_config(["data.max_train_images=100", "data.batch_size=16", *fixed, *overrides]))


def made_curve(fall: float, rise: float) -> np.ndarray:
    """A loss of 2.3 that falls by 1.5 nats around the rate `fall`, and explodes around `rise`."""
    down = 1 / (1 + np.exp(-2.5 * np.log(RATES / fall)))
    return 2.3 - 1.5 * down + np.exp(np.minimum(3 * np.log(RATES / rise), 3))


@pytest.mark.parametrize(("fall", "rise"), [(1e-3, 0.3), (1e-2, 1.0), (0.1, 3.0)])
def test_the_rates_lie_on_the_fall_of_the_curve(fall: float, rise: float) -> None:
    test = read_curve(list(RATES), list(made_curve(fall, rise)))
    for rate in (test.steepest, test.valley):
        assert fall / 4 <= rate <= 6 * fall
    assert fall / 4 <= test.recommended <= rise / 2
    assert not np.isnan(test.smooth).any()


def test_a_curve_that_explodes_at_once_and_one_that_ends_with_nan_are_read() -> None:
    losses = [2.3, 2.2, 2.1, 5.0, float("nan")]
    test = read_curve(list(RATES[:5]), losses)
    assert len(test.rates) == 4
    assert test.recommended <= RATES[3]


def test_a_loss_that_is_never_finite_is_refused() -> None:
    with pytest.raises(InputError, match="the loss is not finite, even at a learning rate of 1e-05"):
        read_curve(list(RATES[:5]), [float("nan")] * 5)


@pytest.mark.parametrize(
    "plan",
    [
        ["model.width=4", "regularizer=[augment,mixup,manifold_mixup,dropout,sam,ema]"],
        ["model=vit_tiny", "model.width=16", "model.depth=2", "regularizer=[weight_decay,layer_decay,patch_dropout]"],
        ["model.width=4", "optim.accumulate=2", "regularizer=[r_drop,dropout,lookahead,max_norm]"],
    ],
)
def test_weights_and_generators_are_as_they_were(plan: list[str]) -> None:
    components = build(*plan)
    before = {key: value.clone() for key, value in components.model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index] # noqa: NPY002
    test = range_test(components, steps=12)
    assert len(test.rates) >= 5
    assert test.rates[1] / test.rates[0] == pytest.approx(test.rates[2] / test.rates[1])
    assert all(torch.equal(value, before[key]) for key, value in components.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # type: ignore[index] # noqa: NPY002
    assert random.getstate() == states[2]


def test_the_first_step_is_that_of_the_run() -> None:
    """The loss before the first step is the one that the training task computes on the same batch."""
    from regulo.analysis.tuning.short_training import HALFWAY, ShortTraining, copy_components
    from regulo.core.rng import StepContext, torch_seed
    from regulo.training.module import compute_loss

    components = build("model.width=4", "regularizer=[mixup,dropout,label_smoothing]")
    training = ShortTraining(copy_components(components))
    batch = next(training.batches())
    own = copy_components(components)
    torch.manual_seed(torch_seed(0, 0, 0))
    loss = compute_loss(own.classifier().train(), own.plan, batch, training.own_loss.counts, StepContext(0, 0, 0, HALFWAY)).loss
    first = float(loss.detach())
    assert training.step(batch, 0.1) == pytest.approx(first, rel=1e-5)
    assert training.step(batch, 0.0) != pytest.approx(first, rel=1e-5), "the step has changed the weights"


def test_a_rate_of_zero_changes_no_weight_and_groups_keep_their_shares() -> None:
    from regulo.analysis.tuning.short_training import ShortTraining, copy_components

    components = build("model=vit_tiny", "model.width=16", "model.depth=2", "regularizer=[layer_decay]")
    training = ShortTraining(copy_components(components))
    batch = next(training.batches())
    before = [p.clone() for p in training.classifier.parameters()]
    training.step(batch, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, training.classifier.parameters(), strict=True))
    training.step(batch, 0.5)
    rates = {group["lr"] for group in training.optimizer.param_groups}
    assert max(rates) == 0.5
    assert len(rates) > 1


def test_the_command_writes_the_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from regulo.analysis.tuning import range_test as module

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "STEPS", 12)
    monkeypatch.setattr(module.range_test, "__defaults__", (12, 15.0))
    words = ["model.width=4", "data.max_train_images=200", "data.num_workers=0", "trainer.precision=32-true"]
    assert main(["tune", "lr", *words, "trainer.memory_format=contiguous"]) == 0
    out = capsys.readouterr().out
    for word in ("steepest", "valley", "recommended", "optim.lr="):
        assert word in out
    assert "range test" in (tmp_path / "lr.html").read_text()


def test_a_device_with_fewer_images_than_the_smallest_batch_gets_them_all() -> None:
    from regulo.analysis.tuning.batch_test import batch_test

    components = build("model.width=4", "regularizer=none")
    components.data.train_dataset.split = components.data.train_dataset.split.select(np.arange(5))
    test = batch_test(components)
    assert [trial.size for trial in test.trials] == [5]
    assert test.largest == test.fastest == 5


def test_the_batch_test_doubles_until_the_images_are_used_up(capsys: pytest.CaptureFixture[str]) -> None:
    from regulo.analysis.tuning.batch_test import batch_test

    components = build("model.width=4", "regularizer=none")
    test = batch_test(components)
    assert [trial.size for trial in test.trials] == [8, 16, 32, 64]
    assert test.largest == 64
    assert "there are 100 training images" in test.end
    assert test.fastest in (8, 16, 32, 64)
    assert components.data.config.batch_size == 16, "the run is as it was"


def test_the_smallest_of_the_fastest_batches_is_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.analysis.tuning import batch_test as module

    def try_size(components: RunComponents, size: int, device: torch.device) -> module.BatchTrial:
        return module.BatchTrial(size, {8: 50.0, 16: 99.0, 32: 100.0}.get(size, 0.0), 0)

    monkeypatch.setattr(module, "_try_size", try_size)
    test = module.batch_test(build("model.width=4", "regularizer=none"))
    assert (test.largest, test.fastest) == (32, 16)


def test_a_batch_that_does_not_fit_ends_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.analysis.tuning import batch_test as module
    from regulo.analysis.tuning.short_training import ShortTraining

    step = ShortTraining.step

    def step_in_little_memory(training: ShortTraining, batch: Batch, *args: Any, **kwargs: Any) -> float:
        if len(batch.labels) > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return step(training, batch, *args, **kwargs)

    monkeypatch.setattr(ShortTraining, "step", step_in_little_memory)
    test = module.batch_test(build("model.width=4", "regularizer=none"))
    assert test.largest == 32
    assert test.end == "64 images do not fit into the memory of the device"
    assert dataclasses.astuple(test.trials[-1]) == (64, 0.0, 0)


@pytest.mark.long
def test_two_processes_measure_the_batch_together(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["trainer=ddp_cpu", "model.width=4", "data.max_train_images=100", "data.num_workers=0", "data.batch_size=16"]
    words += ["trainer.precision=32-true", "trainer.memory_format=contiguous", "regularizer=[mixup,dropout,weight_decay]"]
    assert main(["tune", "batch", *words]) == 0
    out = capsys.readouterr().out
    sizes = [line.split()[0] for line in out.splitlines() if "images/s" in line]
    assert sizes == ["8", "16", "32"]
    assert "largest that fits 32 (there are 50 training images for each device)" in out
    assert "sizes are images on each of 2 devices" in out
    assert main(["tune", "batch", *words, "trainer.strategy=fsdp"]) == 2
    assert "trainer.strategy: the batch is not measured with fsdp" in capsys.readouterr().err


@pytest.mark.long
def test_with_ddp_a_step_has_the_gradients_of_all_processes_and_a_step_alone_has_not(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(check_gradients_of_two, (tmp_path,), 2)  # type: ignore[attr-defined]


def check_gradients_of_two(rank: int, folder: Path) -> None:
    """In one of two processes: gradients are equal after a common step, and differ after a step alone."""
    from regulo.analysis.tuning.short_training import ShortTraining, copy_components

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    components = build("model.width=4", "regularizer=none")
    training = ShortTraining(copy_components(components))
    batches = training.batches()
    batch = [next(batches) for _ in range(2)][rank]
    differences = []
    for alone in (False, True):
        training.step(batch, 0.0, alone)
        gradient = torch.cat([p.grad.flatten() for p in training.classifier.parameters() if p.grad is not None])
        both = [torch.empty_like(gradient) for _ in range(2)]
        torch.distributed.all_gather(both, gradient)
        differences.append((both[0] - both[1]).abs().max().item())
    torch.distributed.destroy_process_group()
    assert differences[0] == 0
    assert differences[1] > 0
