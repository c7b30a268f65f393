"""What every technique promises, for every technique that is discovered, on every model family."""

from typing import Any

import pytest
import torch

from regulo import config, spec
from regulo.batch import Facts, Split, soft_targets
from regulo.data.pipeline.dataset import BatchedImages
from regulo.draws import Moment
from regulo.errors import Refused
from regulo.plan import Plan, named_parameters
from regulo.regularizers.base import HOOKS, Goal, Regularizer, hooks
from tests.conftest import COLOUR, GREY, SMALL, build_model, images_of, rng

TECHNIQUES = spec.names("regularizer")
MODELS = spec.names("model")
FACTS = pytest.mark.parametrize("facts", [GREY, COLOUR], ids=["grey", "colour"])


def technique(name: str) -> Regularizer:
    """As its YAML has it."""
    return config.load([f"regularizer=[{name}]"]).regularizer[name]


def operate(plan: Plan, model_name: str) -> torch.nn.Module:
    """The model after surgery; skipped where the technique refuses, by its name, a model that lacks the place."""
    try:
        return plan.surgery(build_model(model_name, COLOUR), COLOUR)
    except Refused as refusal:
        if model_name in SMALL or plan.regularizers[0].name not in str(refusal):
            raise
        pytest.skip(str(refusal))


def using(hook: str) -> list[str]:
    return [n for n in TECHNIQUES if hook in hooks(spec.load("regularizer", n)())]


@pytest.mark.parametrize("name", TECHNIQUES)
def test_it_uses_a_hook_and_says_where_it_comes_from(name: str) -> None:
    r = technique(name)
    assert hooks(r)
    assert set(hooks(r)) <= set(HOOKS)
    assert {row["technique"] for row in Plan([r]).rows()} == {name}


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("name", TECHNIQUES)
def test_it_works_with_every_model_and_keeps_every_parameter_in_one_group(name: str, model_name: str) -> None:
    r = technique(name)
    plan, facts = Plan([r]), COLOUR
    model = operate(plan, model_name)
    groups = plan.param_groups(model)
    assert sorted(m.name for g in groups for m in g.members) == sorted(n for n, _ in model.named_parameters())
    images, targets = images_of(facts), soft_targets(torch.tensor([0, 1, 2, 3]), facts.num_classes)
    images, targets = plan.mix(images, targets, Moment(0))
    loss = torch.nn.functional.cross_entropy(model.train()(images), targets)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("name", using("surgery"))
def test_surgery_keeps_the_state_dict_keys_and_inference_is_deterministic(name: str, model_name: str) -> None:
    plain = build_model(model_name, COLOUR)
    changed = operate(Plan([technique(name)]), model_name).eval()
    if name != "norm":  # it is there to replace layers
        assert list(changed.state_dict()) == list(plain.state_dict())
        plain.load_state_dict(changed.state_dict())
        torch.testing.assert_close(changed(images_of(COLOUR)), plain.eval()(images_of(COLOUR)), rtol=0, atol=0)
    x = images_of(COLOUR)
    assert changed(x).equal(changed(x))


@FACTS
@pytest.mark.parametrize("name", using("mix"))
def test_mixed_target_rows_sum_to_one_and_repeat_with_the_seed(name: str, facts: Facts) -> None:
    r = technique(name)
    images, labels = images_of(facts, 16), torch.arange(16) % facts.num_classes
    targets = soft_targets(labels, facts.num_classes)
    results = []
    for seed in range(20):
        x, t = r.mix(images.clone(), targets.clone(), rng(seed))
        again = r.mix(images.clone(), targets.clone(), rng(seed))
        assert x.equal(again[0])
        assert t.equal(again[1])
        assert x.shape == images.shape
        torch.testing.assert_close(t.sum(1), torch.ones(16))
        assert (t >= 0).all()
        results.append((x, t))
    assert any(not (x.equal(images) and t.equal(targets)) for x, t in results), "it does something"


@pytest.mark.parametrize("name", using("mix"))
def test_mixing_leaves_its_arguments_alone(name: str) -> None:
    r = technique(name)
    images, targets = images_of(GREY, 8), soft_targets(torch.arange(8), 10)
    kept = images.clone(), targets.clone()
    for seed in range(10):
        r.mix(images, targets, rng(seed))
    assert images.equal(kept[0])
    assert targets.equal(kept[1])


@FACTS
@pytest.mark.parametrize("name", using("transform"))
def test_transforms_keep_shape_and_type_and_depend_on_seed_epoch_and_index_alone(name: str, facts: Facts) -> None:
    images = rng().integers(0, 256, (6, facts.height, facts.width, facts.channels), dtype="uint8")
    split = Split(images, torch.arange(6).numpy())
    make = lambda: BatchedImages(split, technique(name).transform([], facts), seed=3)  # noqa: E731
    one, other = make(), make()
    batch = one.__getitems__([(0, i, 0) for i in range(6)])
    assert batch.images.shape == (6, facts.channels, facts.height, facts.width)
    assert batch.images.dtype == torch.uint8
    alone = torch.cat([other.__getitems__([(0, i, 0)]).images for i in (5, 0, 3)])  # other order, other neighbours
    assert alone.equal(batch.images[[5, 0, 3]])
    later = one.__getitems__([(1, i, 0) for i in range(6)])
    assert not later.images.equal(batch.images)


@pytest.mark.parametrize("name", using("transform"))
def test_transforms_reach_workers_that_are_started_afresh(name: str) -> None:
    import pickle

    split = Split(rng().integers(0, 256, (4, 28, 28, 1), dtype="uint8"), torch.arange(4).numpy())
    data = BatchedImages(split, technique(name).transform([], GREY), seed=3)
    twin = pickle.loads(pickle.dumps(data))
    keys = [(0, i, 0) for i in range(4)]
    assert twin.__getitems__(keys).images.equal(data.__getitems__(keys).images)


@pytest.mark.parametrize("name", using("callbacks"))
def test_callbacks_follow_the_goal(name: str) -> None:
    for goal in (Goal("val/loss", "min"), Goal("val/acc", "max")):
        for callback in technique(name).callbacks(goal):
            assert getattr(callback, "monitor", goal.monitor) == goal.monitor


@pytest.mark.parametrize("name", TECHNIQUES)
def test_its_yaml_sets_only_fields_it_has_and_is_a_valid_technique(name: str) -> None:
    r = technique(name)
    assert type(r).model_validate(r.model_dump()) == r


def test_a_lost_parameter_is_noticed() -> None:
    class Loses(Regularizer):
        def param_groups(self, groups: Any) -> Any:
            return [type(g)(g.members[1:]) for g in groups]

    with pytest.raises(AssertionError, match="lost"):
        Plan([Loses()]).param_groups(build_model("resnet_small", GREY))


def test_shared_parameters_are_grouped_once() -> None:
    layer = torch.nn.Linear(2, 2)
    assert len(named_parameters(torch.nn.Sequential(layer, layer))) == 2


def test_of_techniques_that_take_turns_one_is_drawn_per_batch_each_as_often() -> None:
    from regulo.regularizers.cutmix import CutMix
    from regulo.regularizers.mixup import Mixup

    plan = Plan([Mixup(alpha=1.0), CutMix()])
    images, targets = images_of(GREY, 8), soft_targets(torch.arange(8), 10)
    kinds = []
    for step in range(400):
        x, _ = plan.mix(images, targets, Moment(0, step=step))
        kept = (x == images).flatten(1).float().mean().item()
        kinds.append("mixup" if kept < 1e-3 else "cutmix")
    assert 160 < kinds.count("mixup") < 240  # 200 ± 4 standard deviations
    assert [row["hook"] for row in plan.rows()] == ["mix, one per batch"] * 2


def test_dropout_where_a_model_has_no_such_site_is_refused_by_name() -> None:
    from regulo.regularizers.dropout import Dropout

    with pytest.raises(Refused, match=r"regularizer.dropout.conv: .*'conv'.*fc, attention"):
        Dropout(conv=0.1).surgery(build_model("vit_tiny", GREY), GREY)
