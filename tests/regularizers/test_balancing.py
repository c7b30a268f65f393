"""Class weights, balanced sampling and logit adjustment against closed forms, and how they meet other techniques."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from regulo.core import registry
from regulo.core.types import soft_targets
from regulo.data.components.sampler import TrainBatchSampler
from regulo.regularizers.balanced_sampling import BalancedSampling, draw_visits
from regulo.regularizers.bce import BCE
from regulo.regularizers.class_weights import ClassWeights, class_weights
from regulo.regularizers.components.plan import Plan, find_conflicts, find_providers
from regulo.regularizers.focal_loss import FocalLoss
from regulo.regularizers.label_smoothing import smooth
from regulo.regularizers.logit_adjustment import LogitAdjustment
from regulo.regularizers.mixup import mixup
from regulo.regularizers.repeated_augmentation import RepeatedAugmentation
from tests.conftest import rng

COUNTS = torch.tensor([80.0, 16.0, 4.0], dtype=torch.float64)
LABELS = np.repeat([0, 1, 2], [80, 16, 4])


def logits(n: int = 6) -> torch.Tensor:
    return 2 * torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


HARD = soft_targets(torch.tensor([0, 1, 2, 2, 1, 0]), 3).double()


# ---- class weights


@pytest.mark.formula("class_weights")
def test_class_weights_are_inverse_frequencies_as_torch_applies_them() -> None:
    by_hand = torch.tensor([100 / (3 * 80), 100 / (3 * 16), 100 / (3 * 4)], dtype=torch.float64)
    torch.testing.assert_close(class_weights(COUNTS, 1.0), by_hand, rtol=1e-14, atol=0)
    z = logits()
    expected = F.cross_entropy(z, HARD.argmax(1), weight=by_hand, reduction="none")
    torch.testing.assert_close(ClassWeights().criterion(z, HARD, COUNTS), expected.float(), rtol=1e-5, atol=0, check_dtype=False)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_mean_weight_of_a_training_image_is_1_and_ratios_are_powers(power: float) -> None:
    w = class_weights(COUNTS, power)
    assert float((COUNTS * w).sum() / COUNTS.sum()) == pytest.approx(1.0, rel=1e-14)
    assert float(w[2] / w[0]) == pytest.approx(20**power, rel=1e-14)


def test_the_weight_of_an_image_is_that_of_its_class_however_its_target_is_smoothed_or_mixed() -> None:
    w, z = class_weights(COUNTS, 1.0), logits()
    smoothed = smooth(HARD.clone(), 0.3)
    for targets in (smoothed, mixup(z, HARD, np.array([0.7]), "batch")[1]):
        ratio = ClassWeights().criterion(z, targets, COUNTS) / F.cross_entropy(z, targets, reduction="none")
        torch.testing.assert_close(ratio, w[[0, 1, 2, 2, 1, 0]], rtol=1e-5, atol=0, check_dtype=False)


def test_a_class_without_training_images_changes_no_weight_and_no_loss() -> None:
    counts = torch.tensor([80.0, 16.0, 4.0, 0.0])
    torch.testing.assert_close(class_weights(counts, 1.0)[:3], class_weights(counts[:3], 1.0))
    z = torch.zeros(2, 4)
    for r in (ClassWeights(), LogitAdjustment()):
        assert r.criterion(z, torch.tensor([[1.0, 0, 0, 0], [0, 0.1, 0.1, 0.8]]), counts).isfinite().all()


# ---- logit adjustment


@pytest.mark.formula("logit_adjustment")
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_logit_adjustment_is_the_pairwise_margin_loss_of_the_paper(tau: float) -> None:
    """log[1 + Σ_{k≠y} (π_k / π_y)^τ exp(z_k − z_y)]: the other form of equation 10."""
    z, pi = logits(), (COUNTS / COUNTS.sum()).tolist()
    loss = LogitAdjustment(tau=tau).criterion(z, HARD, COUNTS)
    for i, (row, y) in enumerate(zip(z.tolist(), HARD.argmax(1).tolist(), strict=True)):
        total = sum((pi[k] / pi[y]) ** tau * math.exp(row[k] - row[y]) for k in range(3) if k != y)
        assert loss[i].item() == pytest.approx(math.log(1 + total), rel=1e-6)


@pytest.mark.formula("logit_adjustment")
def test_the_best_logits_are_those_of_equal_classes() -> None:
    """Four images x and three classes with known p(x | y): where z = log p(x | y), the expected loss has no slope."""
    p_of_x = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(0)  # columns: classes
    joint = p_of_x * COUNTS / COUNTS.sum()
    z = p_of_x.log().requires_grad_()
    posterior = joint / joint.sum(1, keepdim=True)
    (joint.sum(1) * LogitAdjustment().criterion(z, posterior, COUNTS)).sum().backward()
    assert z.grad is not None
    assert z.grad.abs().max() < 1e-7
    z.grad = None
    (joint.sum(1) * F.cross_entropy(z, posterior, reduction="none")).sum().backward()
    assert z.grad.abs().max() > 0.01, "without the adjustment they are not the best ones"


def test_adjusted_losses_are_linear_in_mixed_targets() -> None:
    z, flipped = logits(), HARD.flip(0)
    criterion = functools.partial(LogitAdjustment().criterion, z, class_counts=COUNTS)
    mixed = criterion(0.3 * HARD + 0.7 * flipped)
    torch.testing.assert_close(mixed, 0.3 * criterion(HARD) + 0.7 * criterion(flipped), rtol=1e-5, atol=1e-6)


# ---- balanced sampling


@pytest.mark.formula("balanced_sampling")
@pytest.mark.parametrize(("power", "shares"), [(1.0, (1, 1, 1)), (0.5, (80**0.5, 4, 2)), (0.0, (80, 16, 4))])
def test_the_visits_of_a_class_are_its_share_rounded_and_exact_in_the_mean(power: float, shares: tuple[float, ...]) -> None:
    exact = 100 * np.array(shares) / sum(shares)
    draws = np.stack([draw_visits(np.bincount(LABELS), power, rng(seed)) for seed in range(4000)])
    assert (draws.sum(1) == 100).all()
    assert ((draws == np.floor(exact + 1e-9)) | (draws == np.ceil(exact - 1e-9))).all()
    np.testing.assert_allclose(draws.mean(0), exact, atol=4 * 0.5 / math.sqrt(4000))


def test_within_a_class_no_image_is_repeated_before_all_are_visited() -> None:
    order = BalancedSampling().sequence(rng().permutation(100), LABELS, rng())
    for label in range(3):
        visits = np.bincount(order, minlength=100)[label == LABELS]
        assert visits.max() - visits.min() <= 1
    assert len(order) == 100


def test_every_part_of_an_epoch_is_balanced() -> None:
    labels = np.repeat([0, 1, 2], [8000, 1600, 400])
    order = BalancedSampling().sequence(rng().permutation(10_000), labels, rng())
    for part in np.split(order, 10):
        np.testing.assert_allclose(np.bincount(labels[part], minlength=3) / 1000, 1 / 3, atol=4 * math.sqrt(2 / 9 / 1000))


def test_more_classes_than_images_still_fill_the_epoch() -> None:
    labels = np.arange(7) % 5 * 3  # classes 0, 3, 6, 9 and 12; none of the others
    order = BalancedSampling().sequence(np.array([6, 2, 4]), labels, rng())
    assert set(order) <= {6, 2, 4}
    assert len(order) == 3


def make_sampler(rank: int, world: int, start: tuple[int, int] = (0, 0)) -> TrainBatchSampler:
    plan = Plan([BalancedSampling()])
    sequence = functools.partial(plan.sequence, labels=LABELS, seed=5)
    return TrainBatchSampler(len(LABELS), 20 // world, 5, rank, world, sequence, start)


def test_the_order_depends_on_seed_and_epoch_only_and_ranks_share_it() -> None:
    whole = list(make_sampler(0, 1))
    assert whole == list(make_sampler(0, 1))
    ranks = [list(make_sampler(r, 2)) for r in range(2)]
    assert [sorted(a + b) for a, b in zip(*ranks, strict=True)] == [sorted(keys) for keys in whole]
    later = make_sampler(0, 1)
    later.sampler.set_epoch(1)
    assert [[index for _, index, _ in keys] for keys in later] != [[index for _, index, _ in keys] for keys in whole]


def test_a_run_goes_on_in_the_middle_of_an_epoch_with_the_images_that_are_left() -> None:
    assert list(make_sampler(0, 1, start=(0, 3))) == list(make_sampler(0, 1))[3:]


def test_copies_of_repeated_augmentation_are_balanced_too() -> None:
    plan = Plan([RepeatedAugmentation(repeats=2), BalancedSampling()])
    labels = np.repeat([0, 1, 2], [800, 160, 40])
    order = plan.sequence(rng().permutation(1000), 0, labels, 0)
    np.testing.assert_allclose(np.bincount(labels[order]) / 1000, 1 / 3, atol=0.1)
    assert (order[0:-1:2] == order[1::2]).all()


# ---- beside other techniques


def test_no_two_of_them_run_together_and_the_refusal_says_why() -> None:
    names = find_providers("balances")
    assert {"balanced_sampling", "class_weights", "logit_adjustment"} <= set(names)
    for pair in itertools.combinations(names, 2):
        (problem,) = find_conflicts([registry.get_plugin("regularizer", name)() for name in pair])
        assert "the imbalance" in str(problem)


@pytest.mark.parametrize("weighted", [ClassWeights(), LogitAdjustment()], ids=lambda r: r.name)
@pytest.mark.parametrize("loss", [BCE(), FocalLoss()], ids=lambda r: r.name)
def test_another_criterion_is_refused_by_name_and_takes_balanced_sampling(weighted: Plan, loss: Plan) -> None:
    (problem,) = find_conflicts([weighted, loss])  # type: ignore[list-item]
    assert "both define the criterion" in str(problem)
    assert not find_conflicts([BalancedSampling(), loss])  # type: ignore[list-item]
