"""Every two techniques: the plan refuses them with a reason, or they train together; and some train with many others."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regulo.config.trainer import TrainerConfig
from regulo.core import registry
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import RateSite, Site
from regulo.regularizers.base import Goal, Regularizer
from regulo.regularizers.components.plan import Plan, find_conflicts
from tests.conftest import GRAY, build_model, images_of
from tests.regularizers.flow import company, train, try_surgery

TECHNIQUES = registry.list_plugins("regularizer")
CIRCUMSTANCES = ["auto", "32-true", "bf16-mixed", "16-mixed", "sync_batchnorm", "fsdp"]
USUAL = TrainerConfig(precision="32-true").run_conditions()
PAIRS = list(itertools.combinations(TECHNIQUES, 2))
VALID_PAIRS = [pair for pair in PAIRS if not find_conflicts(company(*pair), USUAL)]


def covering(names: list[str], pairs: list[tuple[str, str]], size: int) -> list[tuple[str, ...]]:
    """Plans of at most `size` techniques, so that each allowed pair is in one of them: greedy, and the same each time."""
    remaining = dict.fromkeys(map(frozenset, pairs))
    together = set(remaining)
    plans = []
    while remaining:
        plan = sorted(next(iter(remaining)))
        while len(plan) < size:
            fitting = [n for n in names if n not in plan and all(frozenset((n, other)) in together for other in plan)]
            gain = {n: sum(frozenset((n, other)) in remaining for other in plan) for n in fitting}
            best = max(fitting, key=gain.__getitem__, default=None)
            if best is None or not gain[best]:
                break
            plan.append(best)
        for pair in itertools.combinations(plan, 2):
            remaining.pop(frozenset(pair), None)
        plans.append(tuple(plan))
    return plans


PLANS = covering(TECHNIQUES, VALID_PAIRS, size=8)


class Hybrid(nn.Module):
    """Convolutions and attention in one network, with a site of every kind: for pairs of which each needs another family."""

    def __init__(self, dataset_info: DatasetInfo) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.norm1 = nn.Conv2d(dataset_info.channels, 8, 7, 7, bias=False), nn.BatchNorm2d(8)
        self.conv_site, self.map_branch = Site("conv"), Site("residual")
        self.block = nn.Module()
        self.block.conv2, self.block.site = nn.Conv2d(8, 8, 3, 1, 1), Site("trunk")
        self.position, self.tokens = nn.Parameter(0.02 * torch.randn(1, 16, 8)), Site("tokens")
        self.norm2, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.attention.add_module("site", RateSite("attention", self.attention, "dropout"))
        self.token_branch, self.fc_site, self.head = Site("residual"), Site("fc"), nn.Linear(8, dataset_info.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_site(F.relu(self.norm1(self.conv1(images))))
        x = self.block.site(x + self.map_branch(self.block.conv2(x)))  # type: ignore[operator, union-attr]
        x = self.tokens(x.flatten(2).transpose(1, 2) + self.position)
        y = self.norm2(x)
        x = x + self.token_branch(self.attention(y, y, y, need_weights=False)[0])
        return self.head(self.fc_site(x.mean(1)))


def accepting(plan: Plan) -> nn.Module:
    """The first model that takes all techniques of the plan."""
    for build in (lambda: build_model("resnet_small", GRAY), lambda: build_model("vit_tiny", GRAY), lambda: Hybrid(GRAY)):
        model = try_surgery(plan, build(), GRAY)
        if model is not None:
            return model
    raise AssertionError("no model takes them all")


# ---- the rules


def has_conflict(regularizers: list[Regularizer]) -> bool:
    """Whether the plan refuses them; it then names two of them and says why."""
    problems = find_conflicts(regularizers, USUAL)
    for problem in problems:
        words = str(problem)
        assert sum(r.name in words for r in regularizers) >= 2, words
        reason = words.partition("cannot run beside ")[2].partition(": ")[2]
        assert len(reason) > 10, words
    return bool(problems)


def test_every_pair_is_refused_or_allowed_in_whichever_order_it_is_written() -> None:
    for pair in PAIRS:
        both = company(*pair)
        assert has_conflict(both) is has_conflict(both[::-1]) is (pair not in VALID_PAIRS), pair
    assert len(PAIRS) > len(VALID_PAIRS) > 0.9 * len(PAIRS), "most of them compose, and not all"


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_technique_is_refused_under_exactly_the_circumstances_that_it_names(name: str) -> None:
    reasons = registry.get_plugin("regularizer", name).incompatible
    for word in CIRCUMSTANCES:
        problems = find_conflicts(company(name), [word])
        expected = [f"regularizer.{name}: cannot run under {word}: {reasons[word]}"] if word in reasons else []
        assert [str(problem).partition(" — ")[0] for problem in problems] == expected


def test_all_circumstances_of_the_trainer_are_tried() -> None:
    every = [
        TrainerConfig(precision=precision, sync_batchnorm=True, strategy="fsdp").run_conditions()
        for precision in ("auto", "32-true", "bf16-mixed", "16-mixed")
    ]
    assert set(CIRCUMSTANCES) == {word for words in every for word in words}


def test_what_one_hook_can_hold_only_once_is_refused() -> None:
    from regulo.regularizers.ema import EMA
    from regulo.regularizers.swa import SWA

    assert any("only one average" in str(p) for p in find_conflicts([EMA(), SWA()], USUAL))


def test_the_hybrid_has_a_site_of_every_kind() -> None:
    from regulo.models.components.sites import KINDS, find_sites

    model = Hybrid(GRAY)
    assert all(find_sites(model, kind) for kind in KINDS)
    assert model(images_of(GRAY)).shape == (4, 10)


# ---- trained


def check_training(names: tuple[str, ...]) -> None:
    """A plan of these techniques trains, infers and calibrates."""
    plan = Plan(company(*names))
    model = accepting(plan)
    assert all(t.isfinite().all() for t in train(plan, model, GRAY))
    plan.callbacks(Goal("val/loss", "min"))
    with torch.inference_mode():
        logits = plan.infer(model.eval(), images_of(GRAY, 8))["logits"]
    assert logits.shape == (8, 10)
    assert logits.isfinite().all()
    assert plan.calibrate(logits, torch.arange(8)) > 0


def test_the_plans_cover_every_allowed_pair_and_are_not_refused() -> None:
    pairs_in_plans = {frozenset(pair) for plan in PLANS for pair in itertools.combinations(plan, 2)}
    assert pairs_in_plans == set(map(frozenset, VALID_PAIRS))
    assert not any(find_conflicts(company(*plan), USUAL) for plan in PLANS)
    assert len(PLANS) < len(VALID_PAIRS) / 10


@pytest.mark.parametrize("names", PLANS, ids="+".join)
def test_a_plan_of_many_techniques_trains(names: tuple[str, ...]) -> None:
    check_training(names)


@pytest.mark.long
@pytest.mark.parametrize("pair", VALID_PAIRS, ids="+".join)
def test_every_two_techniques_train_together(pair: tuple[str, str]) -> None:
    check_training(pair)
