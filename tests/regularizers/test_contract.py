"""What every technique promises, for every technique that is discovered, on every model family."""

import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor, nn

from regulo.config import compose
from regulo.config.json_schema import field_schemas
from regulo.core import registry
from regulo.core.errors import InputError
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp, RampBuffer
from regulo.core.types import DatasetInfo, Split, soft_targets
from regulo.data.components.dataset import BatchedImages
from regulo.regularizers.base import HOOKS, Goal, Regularizer, used_hooks
from regulo.regularizers.components.plan import Plan, find_conflicts, find_providers, named_parameters
from regulo.regularizers.components.weight_averaging import WeightAveragingCallback
from tests.conftest import COLOR, GRAY, build_model, images_of, rng
from tests.regularizers.flow import (
    company,
    configured_values,
    dials_of,
    family,
    highest,
    images_and_labels,
    list_required,
    rampable,
    technique,
    train,
    try_surgery,
)

TECHNIQUES = registry.list_plugins("regularizer")
MODELS = registry.list_plugins("model")
DATASET_INFOS = pytest.mark.parametrize("dataset_info", [GRAY, COLOR], ids=["gray", "color"])
CHANGES_THE_FUNCTION = {"norm", "weight_standardization"}
"""they replace what a layer computes, in inference too"""


def using(hook: str) -> list[str]:
    return [n for n in TECHNIQUES if hook in used_hooks(registry.get_plugin("regularizer", n)())]


RAMPABLE = [(n, f) for n in TECHNIQUES for f in rampable(n)]


def surgery_or_skip(plan: Plan, model_name: str) -> nn.Module:
    """The model after surgery; skipped where a technique refuses, by its name, a model that lacks the place."""
    model = try_surgery(plan, build_model(model_name, COLOR), COLOR)
    if model is None:
        pytest.skip("this model lacks the place, and the technique says so")
    return model


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(a.equal(b) for a, b in zip(one, other, strict=True))


# ---- what it says of itself


@pytest.mark.parametrize("name", TECHNIQUES)
def test_it_uses_a_hook_and_says_where_it_comes_from(name: str) -> None:
    r = technique(name)
    assert used_hooks(r)
    assert set(used_hooks(r)) <= set(HOOKS)
    assert {row["technique"] for row in Plan([r]).as_rows()} == {name}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_what_it_scales_and_refuses_and_needs_exists(name: str) -> None:
    cls = registry.get_plugin("regularizer", name)
    assert set(cls.strength_fields) <= set(cls.model_fields)
    assert not (cls.strength_fields and cls.with_strength is not Regularizer.with_strength), "one rule of scaling, not two"
    roles = {role for n in TECHNIQUES for role in registry.get_plugin("regularizer", n).tags}
    assert all(find_providers(word) for word in cls.requires)
    assert set(cls.incompatible) <= {*TECHNIQUES, *roles, "16-mixed", "bf16-mixed", "32-true", "sync_batchnorm", "fsdp"}
    assert all(len(reason) > 10 for reason in (*cls.requires.values(), *cls.incompatible.values()))


@pytest.mark.parametrize("name", TECHNIQUES)
def test_its_yaml_lists_exactly_its_fields_and_survives_being_saved(name: str) -> None:
    r = technique(name)
    assert set(configured_values(name)) == set(type(r).model_fields)
    assert type(r).model_validate(yaml.safe_load(yaml.safe_dump(r.model_dump()))) == r
    assert compose.load_config([f"regularizer=[{','.join([*list_required(name), name])}]"]).regularizer[name] == r


@pytest.mark.parametrize("name", TECHNIQUES)
def test_every_number_has_a_range_and_is_refused_just_outside_of_it(name: str) -> None:
    cls = registry.get_plugin("regularizer", name)

    def out_of_range(field: str, value: Any) -> bool:
        try:
            cls.model_validate({field: value})
        except ValidationError as error:  # other fields may have a say, too
            kinds = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
            return any(e["type"] in kinds and e["loc"][0] == field for e in error.errors())
        return False

    for field, field_schema in field_schemas(cls).items():
        for kind in field_schema.get("anyOf", [field_schema]):
            if kind.get("type") not in ("number", "integer"):
                continue
            bounds = {k: kind[k] for k in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if k in kind}
            assert {"minimum", "exclusiveMinimum"} & set(bounds), f"{field} has no lowest value"
            for bound, border in bounds.items():
                away = math.inf if bound.lower().endswith("maximum") else -math.inf
                beyond = border + (1 if away > 0 else -1) if kind["type"] == "integer" else math.nextafter(border, away)
                assert out_of_range(field, beyond), f"{field}={beyond}"
                assert out_of_range(field, border) is bound.startswith("exclusive"), f"{field}={border}"
                if field in rampable(name):
                    inside = getattr(technique(name), field) or border
                    assert out_of_range(field, {"start": beyond, "end": inside}), f"{field} in a ramp"
                    assert out_of_range(field, {"start": inside, "end": beyond}), f"{field} in a ramp"


# ---- the model


@pytest.mark.parametrize("name", TECHNIQUES)
def test_at_least_one_small_model_takes_it(name: str) -> None:
    family(Plan(company(name)), GRAY)


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("name", TECHNIQUES)
def test_it_trains_every_model_and_keeps_every_parameter_in_one_group(name: str, model_name: str) -> None:
    plan = Plan(company(name))
    model = surgery_or_skip(plan, model_name)
    groups = plan.param_groups(model)
    assert sorted(m.name for g in groups for m in g.members) == sorted(n for n, _ in model.named_parameters())
    assert all(t.isfinite().all() for t in train(plan, model, COLOR, steps=1, size=5))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("name", using("surgery"))
def test_surgery_keeps_keys_and_parameters_and_inference_stays_what_it_was(name: str, model_name: str) -> None:
    plain, before = build_model(model_name, COLOR), build_model(model_name, COLOR)
    parameters = dict(before.named_parameters())
    model = try_surgery(Plan([technique(name)]), before, COLOR)
    if model is None:
        pytest.skip("this model lacks the place, and the technique says so")
    x = images_of(COLOR)
    model.train()(x)  # running statistics and the like differ from the initial ones
    model.eval()
    assert model(x).equal(model(x)), "inference does not draw"
    assert model(x).argmax(1).equal(torch.cat([model(x[i : i + 1]) for i in range(len(x))]).argmax(1))
    if name == "norm":  # it is there to replace layers and what they hold
        return
    assert list(model.state_dict()) == list(plain.state_dict())
    now = dict(model.named_parameters())
    assert list(now) == list(parameters)
    assert all(now[n] is p for n, p in parameters.items()), "the very parameters, not copies"
    plain.load_state_dict(model.state_dict())
    if name not in CHANGES_THE_FUNCTION:
        assert model(x).equal(plain.eval()(x))


# ---- the batch


def mix_batch(plan: Plan, dataset_info: DatasetInfo, n: int, now: StepContext) -> tuple[Tensor, Tensor]:
    return plan.mix(
        images_of(dataset_info, n), soft_targets(torch.arange(n) % dataset_info.num_classes, dataset_info.num_classes), now
    )


@DATASET_INFOS
@pytest.mark.parametrize("name", using("mix"))
def test_mixed_target_rows_sum_to_one_whatever_the_size_of_the_batch(name: str, dataset_info: DatasetInfo) -> None:
    plan = Plan(company(name))
    family(plan, dataset_info)
    for step, n in itertools.product(range(12), (1, 2, 7, 16)):
        x, t = mix_batch(plan, dataset_info, n, StepContext(0, step=step))
        assert x.shape == images_of(dataset_info, n).shape or (name == "progressive_resizing" and len(x) == n)
        assert x.isfinite().all()
        torch.testing.assert_close(t.sum(1), torch.ones(n))
        assert (t >= 0).all()


@pytest.mark.parametrize("name", using("mix"))
def test_a_batch_repeats_with_the_seed_and_what_is_drawn_differs_by_rank_and_step(name: str) -> None:
    plan = Plan(company(name))
    family(plan, GRAY)

    def draw_targets(seed: int, rank: int, first: int = 0) -> list[Tensor]:
        return [t for step in range(first, first + 8) for t in mix_batch(plan, GRAY, 16, StepContext(seed, rank, step))]

    one = draw_targets(0, 0)
    assert same(one, draw_targets(0, 0))
    plain = [t for _ in range(8) for t in mix_batch(Plan([]), GRAY, 16, StepContext(0))]
    assert not same(one, plain), "it does something"
    draws = any(not same(one[:2], one[i : i + 2]) for i in range(2, 16, 2))
    for other in (draw_targets(1, 0), draw_targets(0, 1), draw_targets(0, 0, first=8)):
        assert same(one, other) is not draws


@pytest.mark.parametrize("name", using("mix"))
def test_mixing_leaves_its_arguments_alone(name: str) -> None:
    plan = Plan(company(name))
    family(plan, GRAY)
    images, targets = images_of(GRAY, 8), soft_targets(torch.arange(8), 10)
    copies = images.clone(), targets.clone()
    for step in range(10):
        plan.mix(images, targets, StepContext(0, step=step))
    assert images.equal(copies[0])
    assert targets.equal(copies[1])


# ---- the samples


@DATASET_INFOS
@pytest.mark.parametrize("name", using("transform"))
def test_transforms_keep_shape_and_type_and_depend_on_seed_epoch_and_index_alone(name: str, dataset_info: DatasetInfo) -> None:
    images = rng().integers(0, 256, (6, dataset_info.height, dataset_info.width, dataset_info.channels), dtype="uint8")
    split = Split(images, torch.arange(6).numpy())
    make = lambda: BatchedImages(split, technique(name).transform([], dataset_info), seed=3)  # noqa: E731
    one, other = make(), make()
    batch = one.__getitems__([(0, i, 0) for i in range(6)])
    assert batch.images.shape[::2] == (6, dataset_info.height)
    assert batch.images.shape[3] == dataset_info.width
    assert batch.images.shape[1] % dataset_info.channels == 0, "whole views"
    assert batch.images.dtype == torch.uint8
    alone = torch.cat([other.__getitems__([(0, i, 0)]).images for i in (5, 0, 3)])  # other order, other neighbors
    assert alone.equal(batch.images[[5, 0, 3]])
    later = one.__getitems__([(1, i, 0) for i in range(6)])
    assert not later.images.equal(batch.images)
    copies = one.__getitems__([(0, i, 1) for i in range(6)])
    assert not copies.images.equal(batch.images)


@DATASET_INFOS
@pytest.mark.parametrize("name", using("transform_batch"))
def test_a_batched_form_takes_the_place_of_a_transform_and_an_image_does_not_depend_on_its_batch(
    name: str, dataset_info: DatasetInfo
) -> None:
    assert "transform" in used_hooks(technique(name))
    plan, images = Plan([technique(name)]), torch.from_numpy(images_and_labels(dataset_info, 12).images).permute(0, 3, 1, 2)
    keys = np.array(list(itertools.product((0, 1), (0, 5, 2**31), (0, 1))))  # epoch, index, copy
    batch = plan.transform_batch(images, keys, seed=3)
    assert batch.shape == images.shape
    assert batch.dtype == torch.uint8
    for part in np.split(np.random.default_rng(0).permutation(12), [1, 5]):
        assert plan.transform_batch(images[part], keys[part], seed=3).equal(batch[part])
    same_image = images[:1].expand(12, -1, -1, -1)
    variants = [image.numpy().tobytes() for image in plan.transform_batch(same_image, keys, seed=3)]
    assert len(set(variants)) > 3, "epochs, images and copies are drawn apart"
    assert not plan.transform_batch(images, keys, seed=4).equal(batch)


@pytest.mark.parametrize("name", using("transform"))
def test_transforms_reach_workers_that_are_started_afresh(name: str) -> None:
    split = Split(rng().integers(0, 256, (4, 28, 28, 1), dtype="uint8"), torch.arange(4).numpy())
    data = BatchedImages(split, technique(name).transform([], GRAY), seed=3)
    twin = pickle.loads(pickle.dumps(data))
    keys = [(0, i, 0) for i in range(4)]
    assert twin.__getitems__(keys).images.equal(data.__getitems__(keys).images)


@pytest.mark.parametrize("name", using("sequence"))
def test_a_sequence_visits_as_many_images_as_before_and_only_those(name: str) -> None:
    for n in (1, 7, 64):
        places = rng().permutation(n)
        indices = technique(name).sequence(places, rng().integers(0, 3, n), rng())
        assert indices.shape == (n,)
        assert set(indices) <= set(places)


@pytest.mark.parametrize("name", using("callbacks"))
def test_callbacks_follow_the_goal(name: str) -> None:
    for goal in (Goal("val/loss", "min"), Goal("val/acc", "max")):
        for callback in technique(name).callbacks(goal):
            assert getattr(callback, "monitor", goal.monitor) == goal.monitor


# ---- strength


def nothing_but(plan: Plan, other: Plan) -> None:
    """Both plans lead to the same batches, losses, parameters and statistics, bit for bit."""
    name, one = family(plan, GRAY)
    two = other.surgery(build_model(name, GRAY), GRAY)
    assert same(train(plan, one, GRAY), train(other, two, GRAY))
    for p in (one, two):
        p.eval()
    x = images_of(GRAY)
    assert plan.infer(one, x).keys() == other.infer(two, x).keys()
    assert plan.infer(one, x)["logits"].equal(other.infer(two, x)["logits"])
    for callback in plan.callbacks(Goal("val/loss", "min")):
        if isinstance(callback, WeightAveragingCallback):
            weights = {callback.weight(count, progress, 100) for count, progress in ((0, 0.01), (5, 0.5), (99, 1.0))}
            assert weights <= {None, 1.0}, "the average is the last state, or there is none"


@pytest.mark.parametrize("name", TECHNIQUES)
def test_strength_0_is_absence_bit_for_bit(name: str) -> None:
    plan = Plan(company(name), strength=0.0)
    nothing_but(plan, Plan([]))
    assert not plan.keeps_best
    assert not plan.calibrates


@pytest.mark.parametrize("name", [n for n in TECHNIQUES if registry.get_plugin("regularizer", n).strength_fields])
def test_with_all_that_it_scales_at_0_it_does_nothing_bit_for_bit(name: str) -> None:
    r = technique(name)
    zeros = {f: type(highest(name, f))(0) for f in r.strength_fields if getattr(r, f) is not None}
    nothing_but(Plan(company(name, **zeros)), Plan([technique(n) for n in list_required(name)]))


@pytest.mark.parametrize("name", TECHNIQUES)
def test_any_strength_gives_a_technique_within_its_ranges(name: str) -> None:
    ramps = {f: Ramp(start=v / 2, end=v) for f in rampable(name) if (v := highest(name, f))}
    for r in (technique(name), *(technique(name, **{f: ramp.model_dump()}) for f, ramp in ramps.items())):
        assert Plan([r], strength=1.0).regularizers == [r], "what is written"
        for strength in (0.01, 0.5, 2.0, 10.0):
            copy = r.with_strength(strength)
            assert copy is not None, "only 0 is absence"
            assert type(r).model_validate(copy.model_dump()) == copy


# ---- ramps


def end(name: str, field: str) -> float:
    """Where a ramp of the field may end: at what is written, or at a tenth."""
    return highest(name, field) or 0.1


@pytest.mark.parametrize("name", [n for n in TECHNIQUES if rampable(n)])
def test_every_strength_takes_a_ramp_from_the_command_line_and_follows_it(name: str) -> None:
    ends = {f: end(name, f) for f in rampable(name)}
    overrides = [f"regularizer.{name}.{f}={{start:{v / 2},end:{v},until:1}}" for f, v in ends.items()]
    r = compose.load_config([f"regularizer=[{','.join([*list_required(name), name])}]", *overrides]).regularizer[name]
    for progress, share in ((0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
        now = r.resolve(progress)
        assert {f: getattr(now, f) for f in ends} == pytest.approx({f: share * v for f, v in ends.items()})
    assert all(isinstance(getattr(r, f), Ramp) for f in ends), "the ramp itself stays"


def model_with_ramp(name: str, field: str) -> nn.Module:
    v = end(name, field)
    return family(Plan(company(name, **{field: {"start": v / 4, "end": v}})), GRAY)[1]


@pytest.mark.parametrize(("name", "field"), [(n, f) for n, f in RAMPABLE if used_hooks(technique(n)) == ("surgery",)])
def test_a_ramp_inside_the_model_is_turned_by_dials(name: str, field: str) -> None:
    dials = [d for d in dials_of(model_with_ramp(name, field)) if isinstance(d, RampBuffer)]

    def values(progress: float) -> np.ndarray:
        for dial in dials:
            dial.update(progress)
        return np.array([float(d.value) for d in dials])

    first, middle, last = (values(p) for p in (0.0, 0.5, 1.0))
    assert (first != last).any()
    np.testing.assert_allclose(middle, (first + last) / 2, rtol=1e-5)


IN_MODELS = [(n, f) for n, f in RAMPABLE if "surgery" in used_hooks(technique(n))]
MODELS_TO_COMPILE = ["resnet_small", "vit_tiny"]


def ramps_in(model_name: str) -> dict[str, dict[str, Any]]:
    """By technique, a ramp of each field that acts inside of this model."""
    ramps: dict[str, dict[str, Any]] = {}
    for name, field in IN_MODELS:
        ramp = {"start": end(name, field) / 4, "end": end(name, field)}
        if try_surgery(Plan(company(name, **{field: ramp})), build_model(model_name, GRAY), GRAY):
            ramps.setdefault(name, {})[field] = ramp
    return ramps


def groups_that_run_together(ramps: dict[str, dict[str, Any]]) -> list[list[str]]:
    groups: list[list[str]] = []
    for name in ramps:
        fitting = next((group for group in groups if not find_conflicts(company(*group, name))), None)
        if fitting:
            fitting.append(name)
        else:
            groups.append([name])
    return groups


@pytest.mark.parametrize("model_name", MODELS_TO_COMPILE)
def test_a_compiled_model_is_compiled_once_while_dials_turn(model_name: str) -> None:
    from torch._dynamo.testing import CompileCounter

    ramps = ramps_in(model_name)
    for group in groups_that_run_together(ramps):
        plan = Plan([r if r.name not in ramps else technique(r.name, **ramps[r.name]) for r in company(*group)])
        model = plan.surgery(build_model(model_name, GRAY), GRAY).train()
        dials = dials_of(model)
        assert dials
        torch._dynamo.reset()
        counter = CompileCounter()
        compiled_model = torch.compile(model, backend=counter)
        x, counts = images_of(GRAY), []
        for step in range(10):
            for dial in dials:
                dial.update(step / 10)
            compiled_model(x)
            counts.append(counter.frame_count)
        torch._dynamo.reset()
        assert counts == [counts[0]] * 10, group
        assert counts[0] > 0, "it is compiled at all"


def test_every_ramp_inside_a_model_is_compiled_in_one_of_them() -> None:
    pairs = {
        (name, field) for model_name in MODELS_TO_COMPILE for name, fields in ramps_in(model_name).items() for field in fields
    }
    assert pairs == set(IN_MODELS)


# ---- the plan itself


def test_a_lost_parameter_is_noticed() -> None:
    class Loses(Regularizer):
        def param_groups(self, groups: Any) -> Any:
            return [type(g)(g.members[1:]) for g in groups]

    with pytest.raises(AssertionError, match="lost"):
        Plan([Loses()]).param_groups(build_model("resnet_small", GRAY))


def test_shared_parameters_are_grouped_once() -> None:
    layer = torch.nn.Linear(2, 2)
    assert len(named_parameters(torch.nn.Sequential(layer, layer))) == 2


def test_of_techniques_that_take_turns_one_is_drawn_per_batch_each_as_often() -> None:
    from regulo.regularizers.cutmix import CutMix
    from regulo.regularizers.mixup import Mixup

    plan = Plan([Mixup(alpha=1.0), CutMix()])
    images, targets = images_of(GRAY, 8), soft_targets(torch.arange(8), 10)
    kinds = []
    for step in range(400):
        x, _ = plan.mix(images, targets, StepContext(0, step=step))
        share = (x == images).flatten(1).float().mean().item()
        kinds.append("mixup" if share < 1e-3 else "cutmix")
    assert 160 < kinds.count("mixup") < 240  # 200 ± 4 standard deviations
    assert [row["hook"] for row in plan.as_rows()] == ["mix, one per batch"] * 2


def test_dropout_where_a_model_has_no_such_site_is_refused_by_name() -> None:
    from regulo.regularizers.dropout import Dropout

    with pytest.raises(InputError, match=r"regularizer.dropout.conv: .*'conv'.*fc, attention"):
        Dropout(conv=0.1).surgery(build_model("vit_tiny", GRAY), GRAY)
