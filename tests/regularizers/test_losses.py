"""Losses and penalties against independent references, and what other libraries get wrong about them."""

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp
from regulo.core.types import LossInputs, soft_cross_entropy, soft_targets
from regulo.regularizers.bce import BCE
from regulo.regularizers.components.entropy import entropy
from regulo.regularizers.components.plan import Plan, find_conflicts
from regulo.regularizers.confidence_penalty import ConfidencePenalty
from regulo.regularizers.dropout import Dropout
from regulo.regularizers.focal_loss import FocalLoss, focal_loss
from regulo.regularizers.l1 import L1
from regulo.regularizers.label_smoothing import LabelSmoothing
from regulo.regularizers.mixup import Mixup
from regulo.regularizers.orthogonality import Orthogonality, soft_orthogonality
from regulo.regularizers.r_drop import RDrop, symmetric_kl
from tests.conftest import COLOR, GRAY, build_model, images_of, rng

EVEN = torch.ones(10)
"""as many training images of each class: for losses that do not depend on it"""


def soft(n: int, k: int, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, k, generator=g, dtype=torch.float64).softmax(1)


def logits_of(n: int, k: int, scale: float = 3.0) -> torch.Tensor:
    return scale * torch.randn(n, k, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def step_of(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, criterion: Any = soft_cross_entropy) -> LossInputs:
    return LossInputs(model, images, targets, model(images), criterion)


# ---- binary cross-entropy


@pytest.mark.formula("bce")
def test_bce_is_its_sum_over_questions_in_float64() -> None:
    z, t = logits_of(5, 4), soft(5, 4)
    loss = BCE().criterion(z, t, EVEN)
    for i in range(5):
        p = [1 / (1 + math.exp(-v)) for v in z[i].tolist()]
        by_hand = -sum(a * math.log(b) + (1 - a) * math.log(1 - b) for a, b in zip(t[i].tolist(), p, strict=True)) / 4
        assert loss[i].item() == pytest.approx(by_hand, rel=1e-12)


def test_a_threshold_makes_every_mixed_class_a_yes_and_only_if_it_is_asked_for() -> None:
    """The loss of ResNet strikes back, section 2.2, as timm has it: targets above .2 are 1."""
    targets, logits = torch.tensor([[0.7, 0.3, 0.0], [0.85, 0.15, 0.0]]), torch.randn(2, 3)
    hard = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    expected = nn.functional.binary_cross_entropy_with_logits(logits, hard, reduction="none").mean(1)
    torch.testing.assert_close(BCE(threshold=0.2).criterion(logits, targets, EVEN), expected)
    assert BCE().threshold is None


def test_bce_sees_smoothing_and_lambda() -> None:
    z, hard = logits_of(4, 5).float(), soft_targets(torch.arange(4), 5)
    losses = [BCE().criterion(z, hard, EVEN)]
    for r in (LabelSmoothing(epsilon=0.2), Mixup(alpha=1.0)):
        t, leaf = r.mix(z, hard, rng())[1], z.clone().requires_grad_()
        losses.append(BCE().criterion(leaf, t, EVEN).detach())
        (gradient,) = torch.autograd.grad(BCE().criterion(leaf, t, EVEN).sum(), leaf)
        torch.testing.assert_close(gradient, (z.sigmoid() - t) / 5)  # a threshold on t would show here
    assert not losses[0].allclose(losses[1])
    assert not losses[0].allclose(losses[2])


def test_there_is_one_criterion() -> None:
    assert len(find_conflicts([BCE(), FocalLoss()])) == 1
    assert Plan([BCE()], strength=0.0).regularizers == []


# ---- focal loss


@pytest.mark.formula("focal_loss")
@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0, 5.0])
def test_focal_loss_is_its_formula_in_float64(gamma: float) -> None:
    z, t = logits_of(6, 4), soft(6, 4)
    p = z.numpy() - z.numpy().max(1, keepdims=True)
    p = np.exp(p) / np.exp(p).sum(1, keepdims=True)
    by_hand = -(t.numpy() * (1 - p) ** gamma * np.log(p)).sum(1)
    np.testing.assert_allclose(FocalLoss(gamma=gamma).criterion(z, t, EVEN).numpy(), by_hand, rtol=1e-12)


@pytest.mark.formula("focal_loss")
def test_two_classes_give_torchvisions_focal_loss() -> None:
    from torchvision.ops import sigmoid_focal_loss

    z = logits_of(8, 1)
    labels = torch.arange(8) % 2
    theirs = sigmoid_focal_loss(z[:, 0], labels.double(), alpha=-1, gamma=2.0, reduction="none")
    two = torch.cat([torch.zeros_like(z), z], dim=1)  # softmax of (0, z) is σ(z)
    torch.testing.assert_close(focal_loss(two, F.one_hot(labels, 2).double(), 2.0), theirs, rtol=1e-12, atol=1e-12)


def test_focal_loss_without_focus_is_cross_entropy_bit_for_bit() -> None:
    z, t = logits_of(6, 4).float(), soft(6, 4).float()
    assert FocalLoss().with_strength(0).criterion(z, t, EVEN).equal(soft_cross_entropy(z, t))  # type: ignore[union-attr]


@pytest.mark.parametrize("gamma", [0.01, 0.5, 2.0])
def test_certainty_has_a_finite_gradient(gamma: float) -> None:
    z = torch.tensor([[200.0, 0.0], [0.0, 200.0], [17.0, 0.0]], requires_grad=True)  # 1 − p is 0, 1, and 4e-8
    focal_loss(z, torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]]), gamma).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


# ---- confidence penalty


@pytest.mark.formula("confidence_penalty")
def test_the_confidence_penalty_is_minus_beta_times_the_entropy() -> None:
    z = logits_of(7, 5)
    torch.testing.assert_close(entropy(z.log_softmax(1)), torch.distributions.Categorical(logits=z).entropy())
    torch.testing.assert_close(entropy(torch.zeros(1, 8).log_softmax(1)), torch.tensor([math.log(8)]))
    model = nn.Identity()
    two_views = torch.cat([z.float(), 100 * z.float()])
    step = LossInputs(model, two_views, soft(7, 5).float(), two_views, soft_cross_entropy)
    expected = -0.3 * torch.distributions.Categorical(logits=z).entropy().mean()
    torch.testing.assert_close(ConfidencePenalty(beta=0.3).penalty(step), expected.float())
    assert entropy(torch.tensor([[500.0, 0.0]]).log_softmax(1)).item() == 0.0


# ---- R-Drop


@pytest.mark.formula("r_drop")
def test_disagreement_is_half_the_sum_of_torchs_divergences() -> None:
    a, b = logits_of(6, 5), logits_of(6, 5, scale=-1.0)
    p, q = (torch.distributions.Categorical(logits=v) for v in (a, b))
    kl = torch.distributions.kl_divergence
    torch.testing.assert_close(symmetric_kl(a, b), (kl(p, q) + kl(q, p)) / 2, rtol=1e-12, atol=1e-12)
    assert symmetric_kl(a, a).equal(torch.zeros(6, dtype=torch.float64))


@pytest.mark.formula("r_drop")
@pytest.mark.parametrize("views", [1, 2])
def test_r_drop_adds_the_second_loss_and_the_disagreement(views: int) -> None:
    model = build_model("resnet_small", GRAY)
    Dropout(fc=0.5).surgery(model, GRAY)
    model.train()
    images, targets = images_of(GRAY, 4 * views), soft_targets(torch.arange(4), 10)
    torch.manual_seed(1)
    step = step_of(model, images, targets)
    rng_state = torch.random.get_rng_state()
    penalty = RDrop(alpha=0.7).penalty(step)
    torch.random.set_rng_state(rng_state)
    second = model(images[:4])  # the same masks again
    p, q = (torch.distributions.Categorical(logits=v) for v in (step.logits[:4], second))
    kl = torch.distributions.kl_divergence
    expected = F.cross_entropy(second, targets) + 0.7 * ((kl(p, q) + kl(q, p)) / 2).mean()
    torch.testing.assert_close(penalty, expected)
    assert not second.allclose(step.logits[:4]), "the masks differ"


def test_the_second_pass_leaves_the_running_statistics_alone_and_reaches_the_gradient() -> None:
    model = build_model("resnet_small", GRAY).train()
    Dropout(fc=0.5).surgery(model, GRAY)
    step = step_of(model, images_of(GRAY), soft_targets(torch.arange(4), 10))
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    penalty = RDrop().penalty(step)
    assert all(b.equal(buffers[name]) for name, b in model.named_buffers())
    assert all(m.track_running_stats for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    penalty.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if n.endswith("weight"))


def test_r_drop_follows_the_runs_loss_and_needs_a_layer_that_draws() -> None:
    model = build_model("vit_tiny", GRAY).train()
    step = step_of(
        model, images_of(GRAY), soft_targets(torch.arange(4), 10), functools.partial(BCE().criterion, class_counts=EVEN)
    )
    torch.testing.assert_close(RDrop().penalty(step), BCE().criterion(step.logits, step.targets, EVEN).mean())


def test_at_strength_0_there_is_no_second_pass() -> None:
    calls = []
    model = nn.Flatten()
    model.register_forward_hook(lambda *_: calls.append(1))
    step = step_of(model, torch.randn(2, 1, 1, 3), torch.eye(3)[:2])
    assert RDrop().with_strength(0).penalty(step).item() == 0  # type: ignore[union-attr]
    assert len(calls) == 1
    RDrop().penalty(step)
    assert len(calls) == 2


# ---- penalties on weights


@pytest.mark.formula("l1")
@pytest.mark.parametrize("name", ["resnet_small", "vit_tiny", "torchvision"])
def test_l1_is_the_sum_over_matrices_and_kernels(name: str) -> None:
    model = build_model(name, COLOR)
    step = LossInputs(model, *[torch.zeros(0)] * 3, soft_cross_entropy)
    penalty = L1(rate=0.01).penalty(step)
    penalty.backward()
    total = 0.0
    for n, p in model.named_parameters():
        is_weight = p.ndim > 1 and "position" not in n
        total += p.detach().double().abs().sum().item() if is_weight else 0.0
        if is_weight:
            assert p.grad is not None
            torch.testing.assert_close(p.grad, 0.01 * p.detach().sign())
        else:
            assert p.grad is None
    assert penalty.item() == pytest.approx(0.01 * total, rel=1e-6)


def test_l1_at_a_zero_weight_is_finite_and_leaves_it_there() -> None:
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight)
    L1(rate=1.0).penalty(LossInputs(model, *[torch.zeros(0)] * 3, soft_cross_entropy)).backward()
    assert model.weight.grad is not None
    assert model.weight.grad.equal(torch.zeros(2, 2))


def test_frozen_and_shared_weights_are_not_penalized_twice() -> None:
    shared_layer, frozen_layer = nn.Linear(2, 2, bias=False), nn.Linear(2, 2).requires_grad_(False)
    model = nn.Sequential(shared_layer, frozen_layer, shared_layer)
    step = LossInputs(model, *[torch.zeros(0)] * 3, soft_cross_entropy)
    assert L1(rate=1.0).penalty(step).item() == pytest.approx(shared_layer.weight.abs().sum().item())
    torch.testing.assert_close(Orthogonality(rate=1.0).penalty(step), soft_orthogonality(shared_layer.weight[None]))


@pytest.mark.formula("orthogonality")
@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4)])
def test_orthogonality_is_its_formula_in_float64(shape: tuple[int, int]) -> None:
    w = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    a = w.detach().numpy()
    rows, columns = a @ a.T - np.eye(shape[0]), a.T @ a - np.eye(shape[1])
    smaller = min(rows, columns, key=len)
    ours = soft_orthogonality(w[None])
    assert ours.item() == pytest.approx((smaller**2).sum(), rel=1e-12)
    assert (rows**2).sum() - (columns**2).sum() == pytest.approx(shape[0] - shape[1])
    ours.backward()
    assert w.grad is not None
    np.testing.assert_allclose(w.grad.numpy(), 4 * rows @ a, rtol=1e-10)  # the same from either Gram matrix
    for m in (nn.init.orthogonal_(torch.empty(shape, dtype=torch.float64)), nn.init.orthogonal_(torch.empty(5, 5))):
        assert soft_orthogonality(m[None]).item() < 1e-10


def test_orthogonality_of_a_network_goes_over_all_its_layers_and_groups() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), nn.Linear(6, 3), nn.MultiheadAttention(4, 2), nn.Embedding(3, 4)
    )
    penalty = Orthogonality(rate=0.5).penalty(LossInputs(model, *[torch.zeros(0)] * 3, soft_cross_entropy))
    a = model[3]
    halves = [h.flatten(1) for h in model[0].weight.chunk(2)]  # type: ignore[union-attr, operator]
    total = sum(
        ((w @ w.T if len(w) <= w.shape[1] else w.T @ w) - torch.eye(min(w.shape))).square().sum()
        for w in (*halves, model[2].weight, a.in_proj_weight, a.out_proj.weight)  # type: ignore[union-attr]
    )
    torch.testing.assert_close(penalty, 0.5 * total)  # type: ignore[operator]


def test_the_gram_matrix_is_not_rounded_under_autocast() -> None:
    w = nn.init.orthogonal_(torch.empty(1, 16, 64)[0])[None] * 1.001
    with torch.autocast("cpu", torch.bfloat16):
        reference = soft_orthogonality(w)
    torch.testing.assert_close(reference, soft_orthogonality(w), rtol=0, atol=0)


# ---- all of them

PENALTIES = [ConfidencePenalty(), L1(), Orthogonality(), RDrop(), FocalLoss()]


@pytest.mark.parametrize("r", PENALTIES, ids=lambda r: r.name)
def test_strength_0_is_absence_bit_for_bit(r: Any) -> None:
    images, targets = images_of(GRAY, 5), soft_targets(torch.arange(5), 10)
    gradients = []
    for plan in (Plan([]), Plan([r], strength=0.0), Plan([r])):
        model = build_model("resnet_small", GRAY).train()
        loss, _ = plan.loss(model, images, targets, model(images), EVEN, StepContext(0))
        loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(a.equal(b) for a, b in zip(*gradients[:2], strict=True))
    assert not all(a.equal(b) for a, b in zip(gradients[0], gradients[2], strict=True))


@pytest.mark.parametrize("r", PENALTIES, ids=lambda r: r.name)
def test_a_single_image_in_bf16_has_a_finite_loss_in_float32(r: Any) -> None:
    model = build_model("vit_tiny", COLOR).train()
    images, targets = images_of(COLOR, 1), soft_targets(torch.tensor([2]), 5)
    with torch.autocast("cpu", torch.bfloat16):
        loss, parts = Plan([r]).loss(model, images, targets, model(images), EVEN, StepContext(0))
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert set(parts) <= {"data", r.name}


@pytest.mark.parametrize("r", PENALTIES, ids=lambda r: r.name)
def test_each_strength_may_be_a_ramp(r: Any) -> None:
    (name,) = r.strength_fields
    with_ramp = type(r).model_validate({name: Ramp[float](start=0.0, end=getattr(r, name))})
    assert getattr(with_ramp.resolve(0.5), name) == pytest.approx(getattr(r, name) / 2)
    assert with_ramp.resolve(1.0) == r
