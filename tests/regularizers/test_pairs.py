"""Every two techniques: the plan refuses them with a reason, or they train together."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regulo import spec
from regulo.batch import Facts
from regulo.plan import Plan, conflicts
from regulo.regularizers.base import Goal, Regularizer
from regulo.sites import RateSite, Site
from tests.conftest import GREY, build_model, images_of
from tests.regularizers.flow import company, operated, train

PAIRS = list(itertools.combinations(spec.names("regularizer"), 2))


class Hybrid(nn.Module):
    """Convolutions and attention in one network, with a site of every kind: for pairs of which each needs another family."""

    def __init__(self, facts: Facts) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.norm1 = nn.Conv2d(facts.channels, 8, 7, 7, bias=False), nn.BatchNorm2d(8)
        self.conv_site, self.conv2, self.map_branch = Site("conv"), nn.Conv2d(8, 8, 3, 1, 1), Site("residual")
        self.block = nn.Module()
        self.block.site = Site("trunk")
        self.position, self.tokens = nn.Parameter(0.02 * torch.randn(1, 16, 8)), Site("tokens")
        self.norm2, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.attention.add_module("site", RateSite("attention", self.attention, "dropout"))
        self.token_branch, self.fc_site, self.head = Site("residual"), Site("fc"), nn.Linear(8, facts.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_site(F.relu(self.norm1(self.conv1(images))))
        x = self.block.site(x + self.map_branch(self.conv2(x)))  # type: ignore[operator, union-attr]
        x = self.tokens(x.flatten(2).transpose(1, 2) + self.position)
        y = self.norm2(x)
        x = x + self.token_branch(self.attention(y, y, y, need_weights=False)[0])
        return self.head(self.fc_site(x.mean(1)))


def accepting(plan: Plan) -> nn.Module:
    """The first model that takes all techniques of the plan."""
    for build in (lambda: build_model("resnet_small", GREY), lambda: build_model("vit_tiny", GREY), lambda: Hybrid(GREY)):
        model = operated(plan, build(), GREY)
        if model is not None:
            return model
    raise AssertionError("no model takes both")


def refused(both: list[Regularizer]) -> bool:
    """Whether the plan refuses them; it then names two of them and says why."""
    problems = conflicts(both, "32-true")
    for problem in problems:
        words = str(problem)
        assert sum(r.name in words for r in both) >= 2, words
        reason = words.partition("cannot run beside ")[2].partition(": ")[2]
        assert len(reason) > 10, words
    return bool(problems)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_two_techniques_train_together_or_are_refused_with_a_reason(one: str, other: str) -> None:
    both = company(one, other)
    if refused(both):
        assert refused(both[::-1]), "in whichever order they are written"
        return
    plan = Plan(both)
    model = accepting(plan)
    assert all(t.isfinite().all() for t in train(plan, model, GREY))
    plan.callbacks(Goal("val/loss", "min"))
    with torch.inference_mode():
        logits = plan.infer(model.eval(), images_of(GREY, 8))["logits"]
    assert logits.shape == (8, 10)
    assert logits.isfinite().all()
    assert plan.calibrate(logits, torch.arange(8)) > 0


def test_what_one_hook_can_hold_only_once_is_refused() -> None:
    from regulo.regularizers.ema import EMA
    from regulo.regularizers.swa import SWA

    assert any("only one average" in str(p) for p in conflicts([EMA(), SWA()], "32-true"))


def test_the_hybrid_has_a_site_of_every_kind() -> None:
    from regulo.sites import KINDS, sites

    model = Hybrid(GREY)
    assert all(sites(model, kind) for kind in KINDS)
    assert model(images_of(GREY)).shape == (4, 10)
