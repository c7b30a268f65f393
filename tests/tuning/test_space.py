"""The search space: what techniques declare, and that no plan breaks a rule."""

import itertools
from typing import Any

import numpy as np
import pytest

from regulo.analysis.tuning.space import PlanSpace, build_space
from regulo.analysis.tuning.suitability import default_technique, suitable_techniques
from regulo.config import compose
from regulo.config.origins import ValueOrigins
from regulo.config.validate import build_section
from regulo.core import registry
from regulo.core.program import PROGRAM
from regulo.core.search_space import Between, Choice, Domain, Times
from regulo.regularizers.components.plan import find_conflicts

NAMES = registry.list_plugins("regularizer")


@pytest.mark.parametrize("name", NAMES)
def test_every_technique_says_itself_what_is_searched_and_each_value_of_it_is_valid(name: str) -> None:
    cls = registry.get_plugin("regularizer", name)
    assert "search_space" in vars(cls), "declared in its own file"
    space = cls.search_space
    assert 0 <= space.prior <= 1
    assert not (space.why_not and (space.prior or space.fields))
    technique = default_technique(name)
    for key, domain in space.fields.items():
        around = domain.around(getattr(technique, key)) if isinstance(domain, Times) else domain
        values = around.options if isinstance(around, Choice) else (around.low, around.high, around.at(0.5))
        for value in values:
            _, problems = build_section(cls, technique.model_dump() | {key: value}, name, ValueOrigins([], {}))
            assert not problems, (key, value)


def test_a_technique_that_says_nothing_can_be_switched_if_it_is_named() -> None:
    from regulo.core.search_space import SearchSpace
    from regulo.regularizers.base import Regularizer

    assert Regularizer.search_space == SearchSpace() == SearchSpace(prior=0.0, fields={})


@pytest.mark.parametrize(
    ("domain", "low", "high"),
    [
        (Between(1, 3), 1, 3),
        (Between(0.1, 10.0, log=True), 0.1, 10),
        (Between(0.2, 0.4), 0.2, 0.4),
        (Choice(("a", "b")), "a", "b"),
    ],
)
def test_shares_reach_all_values_of_a_domain(domain: Domain, low: Any, high: Any) -> None:
    values = [domain.at(share) for share in np.linspace(0, 1, 1001)[:-1]]
    assert values[0] == pytest.approx(low) if low != "a" else values[0] == low
    assert values[-1] == pytest.approx(high, rel=1e-2) if high != "b" else values[-1] == high
    assert all(domain.include(value) == domain for value in values)


def test_a_log_range_has_its_geometric_mean_in_the_middle_and_may_be_widened() -> None:
    assert Between(0.1, 10.0, log=True).at(0.5) == pytest.approx(1.0)
    assert Between(1, 3).include(5) == Between(1, 5)
    assert Between(0.1, 1.0).include(0.05) == Between(0.05, 1.0)
    assert Between(0.1, 1.0, log=True).include(0.0) == Between(0.1, 1.0, log=True), "0 has no logarithm"
    assert Choice((1, 2)).include(3).options == (1, 2, 3)


def whole_space(*overrides: str) -> PlanSpace:
    """The space of all techniques, whether they suit the model or not."""
    config = compose.load_config(overrides)
    techniques = {name: config.regularizer.get(name) or default_technique(name) for name in NAMES}
    searchable = {name: technique for name, technique in techniques.items() if not type(technique).search_space.why_not}
    return build_space(config, searchable, {}, [*searchable, "optim.lr", "strength"], [])


def always(switch: bool) -> Any:
    return lambda name, domain: switch if isinstance(domain, Choice) and domain.options == (False, True) else domain.at(0.5)


@pytest.mark.parametrize("base", [["regularizer=none"], [], ["regularizer=[early_stopping,repeated_augmentation,augment]"]])
def test_no_plan_breaks_a_rule_whatever_is_drawn(base: list[str]) -> None:
    """Everything on is the hardest case: the order of the draw decides which of two enemies comes in."""
    space = whole_space(*base)
    seen: set[str] = set()
    for order in range(25):
        rng = np.random.default_rng(order)
        for suggest in (always(True), lambda name, domain, rng=rng: domain.at(rng.random())):
            params = space.draw(suggest, order)
            plan = [
                space.techniques[n].technique if n in space.techniques else space.fixed[n] for n in space.techniques_of(params)
            ]
            assert not find_conflicts(plan, space.run_conditions)
            seen |= set(space.techniques_of(params))
    assert seen >= set(space.techniques), "each technique gets its turn, also those that exclude others"


def test_of_each_pair_of_techniques_both_can_be_on_if_and_only_if_the_rules_allow_it() -> None:
    space = whole_space("regularizer=none")
    for a, b in itertools.combinations(space.switches(), 2):

        def suggest(name: str, domain: Domain, pair: tuple[str, str] = (a, b)) -> Any:
            return name in pair if name in space.techniques else domain.at(0.5)

        both = set(space.techniques_of(space.draw(suggest, 0))) == {a, b}
        techniques = [space.techniques[n].technique for n in (a, b)]
        assert both == (not find_conflicts(techniques)), (a, b)


def test_a_technique_that_another_one_of_the_run_needs_stays_on() -> None:
    config = compose.load_config(["regularizer=[augment,repeated_augmentation]"])
    space = build_space(config, dict(config.regularizer), {}, ["augment"], [])
    assert space.techniques["augment"].prior is None
    params = space.draw(always(False), 0)
    assert space.techniques_of(params) == ["augment", "repeated_augmentation"]


def test_the_run_itself_is_a_plan_of_its_space_and_changes_nothing() -> None:
    words = ["regularizer=[mixup,weight_decay]", "regularizer.mixup.alpha=3.25", "optim.lr=0.123456", "strength=3"]
    config = compose.load_config(words)
    space = build_space(config, dict(config.regularizer), {}, None, [])
    base = space.params_of_base()
    assert base["mixup.alpha"] == 3.25
    domains = space.domains()
    assert all(domains[key].include(value) == domains[key] for key, value in base.items())
    params = space.draw(lambda name, domain: base[name], 0)
    assert compose.load_config([*words, *space.overrides_of(params)]) == config


def test_overrides_make_exactly_the_plan() -> None:
    words = ["regularizer=[augment,mixup]"]
    config = compose.load_config(words)
    candidates = {
        name: config.regularizer.get(name) or default_technique(name) for name in ("augment", "mixup", "ema", "weight_decay")
    }
    space = build_space(config, candidates, {}, None, [])
    for order in range(20):
        params = space.draw_from_prior(np.random.default_rng(order), order)
        run = compose.load_config([*words, *space.overrides_of(params)])
        assert sorted(run.regularizer) == space.techniques_of(params)
        for key, value in params.items():
            name, _, field = key.partition(".")
            if field and name in space.techniques:
                assert getattr(run.regularizer[name], field) == value
        assert run.optim.lr == params["optim.lr"]
        assert run.run.strength == params["strength"]


def test_a_ramp_is_not_searched_and_what_is_fixed_stays() -> None:
    config = compose.load_config(["regularizer=[mixup,weight_decay]", "regularizer.mixup.p={start:0.5,end:0}"])
    space = build_space(config, dict(config.regularizer), {}, None, ["optim.lr", "weight_decay", "mixup.alpha"])
    assert "mixup.p" not in space.domains()
    assert set(space.domains()) == {"mixup", "strength"}
    assert list(space.fixed) == ["weight_decay"]


def test_what_does_not_suit_the_run_is_left_out_with_the_reason() -> None:
    suitable, refused = suitable_techniques(compose.load_config(["model.width=4"]), NAMES)
    assert "has no" in refused["patch_dropout"] or "token" in refused["patch_dropout"]
    assert "pretrained" in refused["l2_sp"]
    assert "imbalanced" in refused["class_weights"]
    assert "finished run" in refused["mc_dropout"]
    assert {"mixup", "weight_decay", "stochastic_depth", "drop_block"} <= set(suitable)
    assert suitable.keys() | refused.keys() == set(NAMES)
    vit, refused = suitable_techniques(compose.load_config(["model=vit_tiny", "model.width=16"]), NAMES)
    assert "patch_dropout" in vit
    assert "drop_block" in refused
    assert "ghost_batch_norm" in refused


def test_each_run_of_the_sweep_is_valid() -> None:
    import yaml

    from regulo.analysis.tuning.sweep import sweep_yaml

    words = ["logger=csv", "regularizer=[augment,mixup]"]
    config = compose.load_config(words)
    candidates = {n: config.regularizer.get(n) or default_technique(n) for n in ("augment", "mixup", "ema", "wise_ft", "aug_mix")}
    space = build_space(config, candidates, {}, [*candidates, "optim.lr"], [])
    sweep = yaml.safe_load(sweep_yaml(space, words, config.run.goal))
    assert sweep["metric"] == {"name": "val/loss", "goal": "minimize"}
    assert sweep["command"][:2] == [PROGRAM, "train"]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    parameters = sweep["parameters"]
    assert parameters["optim.lr"]["distribution"] == "log_uniform_values"
    assert set(parameters["+regularizer"]["values"]) == {"none", "[ema]", "[wise_ft]"}, "no two averages, no AugMix beside mixup"
    base = [word for word in sweep["command"][2:-1] if not word.startswith("logger")]
    for addition in parameters["+regularizer"]["values"]:
        numbers = [f"{key}={p['max']}" for key, p in parameters.items() if "max" in p]
        run = compose.load_config([*base, f"+regularizer={addition}", *numbers])
        assert {"augment", "mixup"} <= set(run.regularizer)
