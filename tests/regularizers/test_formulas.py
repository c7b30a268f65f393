"""Each technique against an independent reference: a closed form in float64, torch, or torchvision."""

import numpy as np
import pytest
import torch
from torch import nn

from regulo.core.types import soft_targets
from regulo.models.components.sites import RateSite, Site, find_sites
from regulo.optim.adamw import AdamW
from regulo.optim.components.param_groups import NamedParameter
from regulo.optim.sgd import SGD
from regulo.regularizers.augment import Augment
from regulo.regularizers.components.boxes import boxes_around
from regulo.regularizers.components.mixing import blend
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.cutmix import CutMix
from regulo.regularizers.dropout import Dropout
from regulo.regularizers.label_smoothing import LabelSmoothing
from regulo.regularizers.mixup import Mixup
from regulo.regularizers.norm import Norm
from regulo.regularizers.rand_augment import RandAugment
from regulo.regularizers.weight_decay import WeightDecay
from tests.conftest import COLOR, GRAY, build_model, images_of, rng

# ---- dropout


@pytest.mark.formula("dropout")
def test_dropout_keeps_the_expectation_and_is_the_identity_in_inference() -> None:
    model = build_model("resnet_small", GRAY)
    Dropout(fc=0.3).surgery(model, GRAY)
    (site,) = find_sites(model, "fc")
    x = torch.rand(200_000) + 0.5
    output = site.train()(x)
    mask = output != 0
    torch.testing.assert_close(output[mask], x[mask] / 0.7)
    assert abs(mask.double().mean().item() - 0.7) < 5 * (0.3 * 0.7 / len(x)) ** 0.5
    assert abs((output.double().mean() / x.double().mean()).item() - 1) < 0.01
    assert site.eval()(x).equal(x)


@pytest.mark.formula("dropout")
def test_convolutional_maps_lose_whole_channels() -> None:
    model = build_model("resnet_small", GRAY)
    Dropout(fc=0, conv=0.5).surgery(model, GRAY)
    assert len(find_sites(model, "conv")) == 3
    y = find_sites(model, "conv")[0].train()(torch.ones(64, 8, 5, 5))
    per_channel = y.flatten(2)
    assert ((per_channel == 0).all(2) | (per_channel == 2).all(2)).all()
    assert 0.35 < (per_channel[..., 0] == 0).float().mean() < 0.65


def test_attention_weights_are_dropped_after_the_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("vit_tiny", GRAY)
    Dropout(fc=0, attention=0.25).surgery(model, GRAY)
    rates = []
    plain = nn.functional.scaled_dot_product_attention

    def spy(*a: torch.Tensor, dropout_p: float = 0.0) -> torch.Tensor:
        rates.append(dropout_p)
        return plain(*a, dropout_p=dropout_p)

    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", spy)
    model.train()(images_of(GRAY))
    model.eval()(images_of(GRAY))
    assert rates == [0.25, 0.25, 0.0, 0.0]


@pytest.mark.parametrize("name", ["resnet_small", "vit_tiny", "torchvision"])
def test_the_logits_are_never_dropped(name: str) -> None:
    model = build_model(name, COLOR)
    Dropout(fc=0.9).surgery(model, COLOR)
    logits = model.train()(images_of(COLOR, 64))
    assert (logits == 0).sum() == 0, "a dropped logit is exactly zero"
    assert any(isinstance(m, nn.Dropout) and m.p == 0.9 for m in model.modules())


# ---- mixing


@pytest.mark.formula("mixup")
def test_mixup_is_its_formula_in_float64_and_draws_lambda_from_a_beta() -> None:
    x, lam = torch.randn(5, 3, 4, 4, dtype=torch.float64), 0.3
    expected = torch.stack([lam * x[i] + (1 - lam) * x[i - 2] for i in range(5)])
    torch.testing.assert_close(blend(x, np.array([lam])), expected, rtol=1e-15, atol=1e-15)
    targets = soft_targets(torch.arange(5), 10)
    lambdas = np.array([Mixup(alpha=0.4).mix(x.float(), targets, rng(s))[1][0, 0].item() for s in range(4000)])
    a = 0.4
    variance = a * a / ((2 * a) ** 2 * (2 * a + 1))
    assert abs(lambdas.mean() - 0.5) < 4 * (variance / 4000) ** 0.5
    assert abs(lambdas.var() - variance) < 0.01


def test_mixing_acts_on_a_share_p_of_the_batches() -> None:
    x, t = images_of(GRAY, 4), soft_targets(torch.arange(4), 10)
    for technique in (Mixup(alpha=1.0, p=0.3), CutMix(p=0.3)):
        count = sum(not technique.mix(x, t, rng(s))[1].equal(t) for s in range(1000))
        assert 0.22 < count / 1000 < 0.38


@pytest.mark.formula("cutmix")
def test_cutmix_targets_are_the_pixel_shares() -> None:
    for seed in range(200):
        n = 4
        images = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 1, 13, 17).clone()  # image i is filled with i
        x, t = CutMix().mix(images, soft_targets(torch.arange(n), n), rng(seed))
        share = torch.stack([(x == k).flatten(1).float().mean(1) for k in range(n)], dim=1)
        torch.testing.assert_close(t, share, rtol=0, atol=1e-6)


@pytest.mark.formula("cutmix")
def test_the_cutmix_box_is_torchvisions() -> None:
    from torchvision.transforms import v2

    height, width = 24, 30
    theirs = v2.CutMix(num_classes=3)
    for seed in range(50):
        torch.manual_seed(seed)
        params = theirs.make_params([torch.zeros(2, 3, height, width)])
        left, top, right, bottom = params["box"]
        torch.manual_seed(seed)
        lam = float(theirs._dist.sample(()))
        x, y = torch.randint(width, (1,)).item(), torch.randint(height, (1,)).item()
        center = np.array([[(y + 0.5) / height, (x + 0.5) / width]])
        assert boxes_around(center, np.array([1 - lam]), (height, width)).tolist() == [[top, bottom, left, right]]
        assert params["lam_adjusted"] == pytest.approx(1 - (bottom - top) * (right - left) / (height * width))


@pytest.mark.formula("label_smoothing")
def test_label_smoothing_is_torchs() -> None:
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    _, targets = LabelSmoothing(epsilon=0.2).mix(logits, soft_targets(labels, 5), rng())
    ours = nn.functional.cross_entropy(logits, targets)
    torch.testing.assert_close(ours, nn.functional.cross_entropy(logits, labels, label_smoothing=0.2))


def test_smoothing_commutes_with_mixing() -> None:
    t = soft_targets(torch.tensor([0, 1, 2, 0]), 3)
    smooth = lambda v: LabelSmoothing(epsilon=0.1).mix(v, v, rng())[1]  # noqa: E731
    lam = np.array([0.3])
    torch.testing.assert_close(smooth(blend(t, lam)), blend(smooth(t), lam))


# ---- normalization


@pytest.mark.formula("norm")
def test_token_norms_are_their_formulas_in_float64() -> None:
    x = torch.randn(6, 7, 8, dtype=torch.float64)
    model = nn.Sequential(nn.LayerNorm(8))
    for kind, dims in (("batch", (0, 1)), ("layer", (2,))):
        norm_model = nn.Sequential(nn.LayerNorm(8))
        Norm(kind=kind).surgery(norm_model, GRAY)  # type: ignore[arg-type]
        mean, var = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, correction=0)
        torch.testing.assert_close(norm_model.double().train()(x), (x - mean) / (var + 1e-5).sqrt())
    Norm(kind="group", groups=4).surgery(model, GRAY)
    groups_of_channels = x.view(6, 7, 4, 2)
    mean, var = groups_of_channels.mean((1, 3), keepdim=True), groups_of_channels.var((1, 3), keepdim=True, correction=0)
    torch.testing.assert_close(model.double()(x), ((groups_of_channels - mean) / (var + 1e-5).sqrt()).view_as(x))


@pytest.mark.formula("norm")
def test_map_norms_are_their_formulas_in_float64() -> None:
    x = torch.randn(6, 8, 5, 5, dtype=torch.float64)
    for kind, dims in (("batch", (0, 2, 3)), ("layer", (1, 2, 3))):
        norm_model = nn.Sequential(nn.BatchNorm2d(8))
        Norm(kind=kind).surgery(norm_model, GRAY)  # type: ignore[arg-type]
        mean, var = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, correction=0)
        torch.testing.assert_close(norm_model.double().train()(x), (x - mean) / (var + 1e-5).sqrt())


def test_batch_norm_depends_on_the_batch_in_training_only_and_layer_norm_never() -> None:
    x = images_of(GRAY, 8)
    for kind, depends in (("batch", True), ("layer", False), ("group", False)):
        model = build_model("resnet_small", GRAY)
        Norm(kind=kind).surgery(model, GRAY)  # type: ignore[arg-type]
        model.train()
        assert torch.allclose(model(x)[:2], model(x[:2]), atol=1e-5) is not depends
        model.eval()
        torch.testing.assert_close(model(x)[:2], model(x[:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["batch", "layer", "group", "none"])
@pytest.mark.parametrize("name", ["resnet_small", "vit_tiny", "torchvision"])
def test_every_norm_layer_is_swapped(name: str, kind: str) -> None:
    model = build_model(name, COLOR)
    Norm(kind=kind).surgery(model, COLOR)  # type: ignore[arg-type]
    expected_types = {
        "batch": ("BatchNorm2d", "TokenBatchNorm", "BatchNorm1d"),
        "layer": ("GroupNorm", "LayerNorm"),
        "group": ("GroupNorm", "TokenGroupNorm"),
        "none": (),
    }
    norms = {type(m).__name__ for m in model.modules() if "Norm" in type(m).__name__}
    assert norms <= set(expected_types[kind])
    assert bool(norms) is (kind != "none")
    assert model(images_of(COLOR)).isfinite().all()


# ---- weight decay: two steps in float64 against the equations


def two_steps(optim: SGD | AdamW, decay: WeightDecay | None) -> torch.Tensor:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False).double()
    plan = Plan([decay] if decay else [])
    optimizer = optim.build(plan.param_groups(layer), fused=False)
    for step in range(2):
        layer.weight.grad = torch.arange(6.0, dtype=torch.float64).view(2, 3) / 10 + step
        optimizer.step()
    return layer.weight.detach()


def by_hand(update: "type", lr: float, lam: float, decoupled: bool) -> torch.Tensor:
    torch.manual_seed(0)
    theta = nn.Linear(3, 2, bias=False).double().weight.detach().clone()
    state = update()
    for step in range(2):
        g = torch.arange(6.0, dtype=torch.float64).view(2, 3) / 10 + step
        if decoupled:
            theta = (1 - lr * lam) * theta
        else:
            g = g + lam * theta
        theta = theta - lr * state(g)
    return theta


class Momentum:
    def __init__(self) -> None:
        self.v: torch.Tensor | float = 0.0

    def __call__(self, g: torch.Tensor) -> torch.Tensor:
        self.v = 0.9 * self.v + g
        return self.v


class Adam:
    def __init__(self) -> None:
        self.t, self.m, self.s = 0, 0.0, 0.0

    def __call__(self, g: torch.Tensor) -> torch.Tensor:
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * g  # type: ignore[assignment]
        self.s = 0.999 * self.s + 0.001 * g * g  # type: ignore[assignment]
        return self.m / (1 - 0.9**self.t) / ((self.s / (1 - 0.999**self.t)) ** 0.5 + 1e-8)  # type: ignore[operator, return-value]


@pytest.mark.formula("weight_decay")
@pytest.mark.parametrize("mode", ["decoupled", "l2"])
def test_weight_decay_is_its_equation(mode: str) -> None:
    decay = WeightDecay(rate=0.1, mode=mode, skip=[])  # type: ignore[arg-type]
    cases = ((SGD(lr=0.2, momentum=0.9, nesterov=False), Momentum), (AdamW(lr=0.2), Adam))
    for optim, update in cases:
        expected = by_hand(update, 0.2, 0.1, decoupled=mode == "decoupled")
        torch.testing.assert_close(two_steps(optim, decay), expected, rtol=1e-12, atol=1e-12)


def test_decay_equals_l2_under_plain_sgd_and_differs_under_adam() -> None:
    modes = [WeightDecay(rate=0.1, mode=m, skip=[]) for m in ("decoupled", "l2")]
    plain = [two_steps(SGD(lr=0.2, momentum=0.0), m) for m in modes]
    torch.testing.assert_close(*plain, rtol=1e-14, atol=1e-15)
    adam = [two_steps(AdamW(lr=0.2), m) for m in modes]
    assert (adam[0] - adam[1]).abs().max() > 1e-3


@pytest.mark.formula("weight_decay")
def test_adamw_is_torchs_adamw() -> None:
    ours = two_steps(AdamW(lr=0.2), WeightDecay(rate=0.1, skip=[]))
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, bias=False).double()
    theirs = torch.optim.AdamW(layer.parameters(), lr=0.2, weight_decay=0.1)
    for step in range(2):
        layer.weight.grad = torch.arange(6.0, dtype=torch.float64).view(2, 3) / 10 + step
        theirs.step()
    torch.testing.assert_close(ours, layer.weight.detach(), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", ["resnet_small", "vit_tiny", "torchvision"])
def test_bias_norm_and_embedding_do_not_decay_by_default(name: str) -> None:
    groups = Plan([WeightDecay()]).param_groups(build_model(name, COLOR, **({"pool": "class"} if name == "vit_tiny" else {})))
    with_decay = {m.name for g in groups for m in g.members if g.weight_decay}
    without_decay = {m.name for g in groups for m in g.members if not g.weight_decay}
    assert all(m.parameter.ndim > 1 for g in groups if g.weight_decay for m in g.members)
    assert without_decay
    assert not any("position" in n or "class_token" in n or n.endswith("bias") for n in with_decay)


def test_skip_takes_patterns_and_refuses_one_that_matches_nothing() -> None:
    from regulo.core.errors import InputError

    model = build_model("resnet_small", GRAY)
    groups = Plan([WeightDecay(skip=["head.*"])]).param_groups(model)
    assert {m.name for g in groups for m in g.members if not g.weight_decay} == {"head.weight", "head.bias"}
    with pytest.raises(InputError, match="haed"):
        Plan([WeightDecay(skip=["haed.*"])]).param_groups(model)


def test_layer_scales_do_not_decay() -> None:
    """Below LAMB's trust ratio they could otherwise not move: 1e-4 in a vector of length 64."""
    model = build_model("vit_tiny", GRAY, layer_scale=1e-4)
    with_decay = {m.name for g in Plan([WeightDecay()]).param_groups(model) for m in g.members if g.weight_decay}
    assert not any("scale" in name for name in with_decay)


def test_a_role_is_told_by_the_owner_and_not_by_the_name() -> None:
    parameter = NamedParameter("down.1.weight", nn.Parameter(torch.ones(3)), nn.BatchNorm2d(3))
    assert WeightDecay(skip=["norm"])._skips(parameter)


# ---- sample transforms


@pytest.mark.formula("augment")
def test_crop_and_flip_only_move_pixels() -> None:
    import albumentations as A

    image = (rng().integers(1, 256, (28, 28, 1))).astype("uint8")
    pipeline = A.Compose(Augment(padding=0.1, flip=0.5).transform([], GRAY))
    places = set()
    for seed in range(60):
        pipeline.set_random_seed(seed)
        out = pipeline(image=image)["image"].reshape(28, 28)
        padded_image = np.pad(image[..., 0], 3)
        views = {
            (dy, dx, f): (np.fliplr(v) if f else v)
            for dy in range(7)
            for dx in range(7)
            for f in (0, 1)
            for v in (padded_image[dy : dy + 28, dx : dx + 28],)
        }
        match = [k for k, v in views.items() if (v == out).all()]
        assert match
        places.add(match[0])
    assert len(places) > 20
    assert {f for *_, f in places} == {0, 1}


def test_jitter_and_rotation_change_the_image_and_zero_strength_is_the_identity() -> None:
    import albumentations as A

    image = rng().integers(0, 256, (32, 32, 3)).astype("uint8")
    assert not Augment(crop=None, flip=0).transform([], COLOR)
    for fields in ({"jitter": 0.4}, {"rotate": 30.0}):
        pipeline = A.Compose(Augment(crop=None, flip=0, **fields).transform([], COLOR), seed=0)  # type: ignore[arg-type]
        assert not (pipeline(image=image)["image"] == image).all()


@pytest.mark.formula("rand_augment")
def test_rand_augment_is_torchvisions_and_leaves_the_global_generator_alone() -> None:
    from torchvision.transforms import v2

    image = rng().integers(0, 256, (32, 32, 3)).astype("uint8")
    (transform,) = RandAugment(ops=2, magnitude=9).transform([], COLOR)
    state = torch.random.get_rng_state()
    for seed in range(20):
        ours = transform.apply(image, seed=seed)
        assert torch.random.get_rng_state().equal(state)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            theirs = v2.RandAugment(2, 9)(torch.from_numpy(image).permute(2, 0, 1))
        assert (ours == theirs.permute(1, 2, 0).numpy()).all()


def test_sites_are_the_identity_until_something_is_put_there() -> None:
    x = torch.randn(3, 4)
    assert Site("fc")(x) is x
    owner = nn.Linear(2, 2)
    owner.rate = 0.0
    owner.site = RateSite("attention", owner, "rate")
    owner.site.set_rate(0.3)
    assert owner.rate == 0.3
    import copy

    twin = copy.deepcopy(owner)
    twin.site.set_rate(0.6)
    assert (owner.rate, twin.rate) == (0.3, 0.6), "a copy's site acts on the copy"
