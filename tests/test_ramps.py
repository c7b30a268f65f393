"""Strengths that change while a run goes on, and the knob that multiplies them all."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from regulo.config import compose, validate
from regulo.core.errors import InputError
from regulo.core.schedule import Ramp, RampBuffer, resolve
from regulo.models.components.classifier import Classifier
from regulo.models.components.sites import RateSite
from regulo.optim.adamw import AdamW
from regulo.optim.sgd import SGD
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.weight_decay import WeightDecay
from regulo.tracking import checkpoint_io
from regulo.training.module import ClassificationModule
from tests.conftest import GRAY, build_model
from tests.test_module import STEPS, fit, make_batches

GRID = [i / 100 for i in range(101)]


def ramp(**fields: Any) -> Ramp[float]:
    return Ramp[float](**({"start": 0.2, "end": 0.8} | fields))


# ---- the way


def test_a_line_is_its_closed_form() -> None:
    for u in GRID:
        assert ramp().value_at(u) == pytest.approx(0.2 + 0.6 * u)
        inside = min(max((u - 0.25) / 0.5, 0), 1)
        assert ramp(begin=0.25, until=0.75).value_at(u) == pytest.approx(0.2 + 0.6 * inside)
        assert ramp(start=0.8, end=0.2).value_at(u) == pytest.approx(0.8 - 0.6 * u), "downwards"


def test_half_a_cosine_is_its_closed_form_and_flat_at_both_ends() -> None:
    for u in GRID:
        assert ramp(shape="cosine").value_at(u) == pytest.approx(0.2 + 0.6 * math.sin(math.pi * u / 2) ** 2)
    rise = [ramp(shape="cosine").value_at(u) for u in (0.0, 0.01, 0.99, 1.0)]
    assert rise[1] - rise[0] == pytest.approx(rise[3] - rise[2])
    assert rise[1] - rise[0] < 0.6 * 0.01 / 30


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_stairs_are_equal_and_as_many_as_are_asked_for(steps: int) -> None:
    values = [ramp(shape="steps", steps=steps).value_at(u) for u in GRID]
    expected = [0.2 + 0.6 * k / steps for k in range(steps + 1)]
    assert sorted({round(v, 9) for v in values}) == pytest.approx(expected)
    assert values == sorted(values)
    for k in range(1, steps):  # each stair begins at k / steps
        stairs = ramp(shape="steps", steps=steps)
        assert stairs.value_at(k / steps + 1e-9) == pytest.approx(expected[k])
        assert stairs.value_at(k / steps - 1e-9) == pytest.approx(expected[k - 1])


def test_one_stair_is_a_switch() -> None:
    switch = ramp(start=0.5, end=0.0, shape="steps", until=0.9)
    assert [switch.value_at(u) for u in (0, 0.5, 0.8999, 0.9, 1)] == [0.5, 0.5, 0.5, 0, 0]
    jump = ramp(begin=0.3, until=0.3)
    assert [jump.value_at(u) for u in (0, 0.2999, 0.3, 1)] == [0.2, 0.2, 0.8, 0.8]


@pytest.mark.parametrize("shape", ["linear", "cosine", "steps"])
def test_before_and_behind_the_way_the_ends_hold_exactly(shape: str) -> None:
    way = ramp(shape=shape, begin=0.4, until=0.6, steps=3)
    assert all(way.value_at(u) == 0.2 for u in GRID if u <= 0.4)
    assert all(way.value_at(u) == 0.8 for u in GRID if u >= 0.6)
    assert all(0.2 <= way.value_at(u) <= 0.8 for u in GRID)


def test_a_way_backwards_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"begin 0\.7 lies behind until 0\.3"):
        ramp(begin=0.7, until=0.3)


def test_a_ramp_is_multiplied_at_both_ends_and_cut_off_at_the_highest_value() -> None:
    way = ramp(shape="cosine", begin=0.1, until=0.9)
    half = way.scale(0.5, highest=1.0)
    for u in GRID:
        assert half.value_at(u) == pytest.approx(way.value_at(u) / 2)
    assert (way.scale(3, highest=1.0).start, way.scale(3, highest=1.0).end) == (pytest.approx(0.6), 1.0)
    assert way.scale(0, highest=1.0).value_at(0.5) == 0
    assert (resolve(way, 1.0), resolve(0.3, 1.0)) == (0.8, 0.3)


# ---- inside a model


def test_a_dial_turns_in_place_and_is_no_part_of_the_state() -> None:
    dial = RampBuffer(ramp())
    tensor, place = dial.value, dial.value.data_ptr()
    assert dial.value.item() == pytest.approx(0.2)
    for u in GRID:
        dial.update(u)
        assert dial.value is tensor
        assert dial.value.data_ptr() == place
        assert dial.value.item() == pytest.approx(0.2 + 0.6 * u)
    assert not dial.state_dict()
    constant = RampBuffer(0.3)
    constant.update(1.0)
    assert constant.value.item() == pytest.approx(0.3)
    assert nn.Sequential(RampBuffer(ramp())).double()[0].value.dtype == torch.float64, "a buffer goes where the model goes"


def test_a_rate_of_a_fused_kernel_follows_its_ramp() -> None:
    owner = nn.MultiheadAttention(4, 1)
    site = RateSite("attention", owner, "dropout")
    site.set_rate(ramp())
    values = []
    for u in (0.0, 0.5, 1.0):
        site.update(u)
        values.append(owner.dropout)
    assert values == pytest.approx([0.2, 0.5, 0.8])


# ---- in a configuration


def problems(*overrides: str) -> list[str]:
    with pytest.raises(InputError) as refusal:
        compose.load_config(overrides)
    return [str(p) for p in refusal.value.problems]


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("regularizer.dropout.fc={strt:0,end:0.5}", "regularizer.dropout.fc.strt", "start"),
        ("regularizer.dropout.fc={start:0,end:0.5,shap:linear}", "regularizer.dropout.fc.shap", "shape"),
        ("regularizer.dropout.fc={start:0,end:1.5}", "regularizer.dropout.fc.end", "less than 1"),
        ("regularizer.dropout.fc={start:-0.1,end:0.5}", "regularizer.dropout.fc.start", "nearest: 0"),
        ("regularizer.dropout.fc={start:0,end:much}", "regularizer.dropout.fc.end", "valid number"),
        ("regularizer.dropout.fc={start:0}", "regularizer.dropout.fc.end", "required"),
        ("regularizer.dropout.fc={start:0,end:0.5,begin:0.8,until:0.2}", "regularizer.dropout.fc", "lies behind"),
        ("regularizer.dropout.fc={start:0,end:0.5,until:1.2}", "regularizer.dropout.fc.until", "nearest: 1"),
        ("regularizer.dropout.fc={start:0,end:0.5,shape:stairs}", "regularizer.dropout.fc.shape", "steps"),
        ("regularizer.dropout.fc={start:0,end:0.5,shape:steps,steps:0}", "regularizer.dropout.fc.steps", "nearest: 1"),
        ("regularizer.mixup.p={start:0,end:2}", "regularizer.mixup.p.end", "nearest: 1"),
        ("regularizer.early_stopping.patience={start:1,end:2}", "regularizer.early_stopping.patience", "integer"),
        ("strength=-1", "strength", "nearest: 0"),
        ("strength=11", "strength", "nearest: 10"),
    ],
)
def test_a_mistake_in_a_ramp_is_refused_at_its_dotted_name(override: str, key: str, message: str) -> None:
    messages = problems(override)
    assert any(p.startswith(f"{key}:") for p in messages), messages
    assert any(message in p for p in messages if p.startswith(f"{key}:")), messages
    if not key.endswith((".start", ".strt")):
        assert len(messages) == 1, messages


def test_a_ramp_is_saved_and_read_back_and_shown_in_the_plan() -> None:
    c = compose.load_config(["regularizer.dropout.fc={start:0,end:0.5,shape:cosine}"])
    assert c.regularizer["dropout"].fc == Ramp(start=0.0, end=0.5, shape="cosine")  # type: ignore[attr-defined]
    assert validate.validate_config(c.as_dict()) == c
    (text,) = {row["strength"] for row in Plan([c.regularizer["dropout"]]).as_rows()}
    assert "fc=0→0.5" in text


# ---- the knob


def test_the_strength_of_the_command_line_multiplies_every_technique_of_the_plan() -> None:
    c = compose.load_config(["strength=0.5", "regularizer=[dropout,mixup,weight_decay,early_stopping]"])
    by_name = {r.name: r for r in Plan(c.regularizer.values(), c.run.strength).regularizers}
    for name, field in (("dropout", "fc"), ("mixup", "p"), ("weight_decay", "rate")):
        assert getattr(by_name[name], field) == pytest.approx(getattr(c.regularizer[name], field) / 2)
    assert by_name["early_stopping"] == c.regularizer["early_stopping"], "it is on or off"
    assert not Plan(c.regularizer.values(), 0.0).keeps_best
    ten = {r.name: r for r in Plan(c.regularizer.values(), 10.0).regularizers}
    assert ten["mixup"].p == 1.0  # type: ignore[attr-defined]
    assert 0.99 < ten["dropout"].fc < 1.0  # type: ignore[attr-defined]


def test_a_run_at_strength_0_is_the_run_without_regularizers(run: Any) -> None:
    def weights(folder: Path) -> dict[str, torch.Tensor]:
        return checkpoint_io.read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]

    none, one = run("regularizer=none", name="none")
    zero, other = run("strength=0", name="zero")
    assert all(v.equal(weights(zero)[k]) for k, v in weights(none).items())
    assert {k: v for k, v in one.items() if "/" in k and "second" not in k} == {
        k: v for k, v in other.items() if "/" in k and "second" not in k
    }


# ---- in a run


@pytest.mark.parametrize("optim", [SGD(lr=0.01), AdamW()], ids=["sgd", "adamw"])
@pytest.mark.parametrize("mode", ["decoupled", "l2"])
def test_a_ramp_of_weight_decay_reaches_the_optimizer_in_every_step(optim: Any, mode: str) -> None:
    from lightning.pytorch import Callback

    values: list[list[float]] = []

    class Look(Callback):
        def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            values.append([g["weight_decay"] + g.get("decoupled_decay", 0.0) for g in optimizer.param_groups])

    plan = Plan([WeightDecay.model_validate({"rate": {"start": 0.0, "end": 0.9}, "mode": mode})])
    assert plan.groups_change
    assert not Plan([WeightDecay()]).groups_change
    model = build_model("resnet_small", GRAY)
    fit(
        ClassificationModule(Classifier(model, GRAY, "contiguous"), [1] * 10, plan, optim, 0, 4),
        make_batches(),
        callbacks=[Look()],
    )
    assert len(values) == STEPS
    assert [with_decay for with_decay, _ in values] == pytest.approx([0.9 * step / STEPS for step in range(STEPS)])
    assert all(without_decay == 0 for _, without_decay in values)


def test_dials_stand_where_the_run_is_in_every_step() -> None:
    from lightning.pytorch import Callback

    from regulo.models.components.sites import find_sites
    from regulo.regularizers.dropout import Dropout

    values: list[float] = []
    plan = Plan([Dropout.model_validate({"fc": {"start": 0.0, "end": 0.9}})])
    model = plan.surgery(build_model("resnet_small", GRAY), GRAY)

    class Look(Callback):
        def on_before_zero_grad(self, *_: Any) -> None:
            values.append(float(find_sites(model, "fc")[0].inner[0].rate.value))

    task = ClassificationModule(Classifier(model, GRAY, "contiguous"), [1] * 10, plan, SGD(lr=0.01), 0, 4)
    fit(task, make_batches(), callbacks=[Look()])
    assert values == pytest.approx([0.9 * step / STEPS for step in range(STEPS)])


def test_a_plan_with_a_ramp_reaches_workers_that_are_started_afresh() -> None:
    """A parametrised class has no name by which pickle would find it."""
    import pickle

    plan = Plan(
        compose.load_config(["regularizer=[augment,mixup]", "regularizer.mixup.p={start:0.5,end:0}"]).regularizer.values()
    )
    twin = pickle.loads(pickle.dumps(plan))
    (one,) = [r for r in plan.regularizers if r.name == "mixup"]
    (two,) = [r for r in twin.regularizers if r.name == "mixup"]
    assert [two.resolve(t).p for t in (0, 0.3, 1)] == [one.resolve(t).p for t in (0, 0.3, 1)]
    assert [r.name for r in plan.with_hook("transform").regularizers] == ["augment"]
