"""Techniques on whole batches: random erasing, ResizeMix, manifold mixup."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regulo.core.errors import InputError
from regulo.core.rng import StepContext
from regulo.core.schedule import RampBuffer
from regulo.core.types import DatasetInfo, soft_targets
from regulo.models.components.sites import Site
from regulo.regularizers.components.boxes import boxes_within
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.cutmix import CutMix
from regulo.regularizers.ghost_batch_norm import GhostBatchNorm
from regulo.regularizers.manifold_mixup import ManifoldMixup, Mixer
from regulo.regularizers.random_erasing import RandomErasing, first_fit, rectangles, squares
from regulo.regularizers.resizemix import ResizeMix
from tests.conftest import COLOR, GRAY, build_model, images_of, rng

# ---- random erasing


def erased_boxes(images: Tensor, images_after: Tensor) -> list[tuple[int, int, int, int] | None]:
    """Where images without zeros became zero; checks that this is a rectangle, the same in all channels, and all that changed."""
    boxes: list[tuple[int, int, int, int] | None] = []
    for before, after in zip(images, images_after, strict=True):
        mask = (after == 0).all(0)
        assert after[:, ~mask].equal(before[:, ~mask])
        if not mask.any():
            boxes.append(None)
            continue
        y, x = torch.where(mask)
        top, bottom, left, right = int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1
        assert mask[top:bottom, left:right].all()
        boxes.append((top, bottom, left, right))
    return boxes


@pytest.mark.formula("random_erasing")
@pytest.mark.parametrize(("area", "ratio"), [((0.02, 0.33), 0.3), ((0.3, 0.95), 0.2)], ids=["default", "mostly rejected"])
def test_the_erased_rectangle_is_torchvisions(area: tuple[float, float], ratio: float) -> None:
    from torchvision.transforms import v2

    size = (24, 30)
    theirs = v2.RandomErasing(p=1.0, scale=area, ratio=(ratio, 1 / ratio))
    for seed in range(100):
        torch.manual_seed(seed)
        params = theirs.make_params([torch.zeros(3, *size)])
        torch.manual_seed(seed)
        lowest, highest = theirs._log_ratio
        tries = np.empty((10, 2))
        for t in range(10):  # they draw each try when the one before did not fit
            tries[t] = torch.empty(1).uniform_(*area).item(), torch.exp(torch.empty(1).uniform_(lowest, highest)).item()
            sides = rectangles(tries[: t + 1, 0], tries[: t + 1, 1], size)
            sizes_that_fit = first_fit(sides[None], size)
            if sizes_that_fit.any():
                break
        if params["v"] is None:
            assert not sizes_that_fit.any()
            continue
        assert sizes_that_fit.tolist() == [[params["h"], params["w"]]]
        possible = np.array([size]) - sizes_that_fit + 1
        places = (np.array([[params["i"], params["j"]]]) + 0.5) / possible
        box = [params["i"], params["i"] + params["h"], params["j"], params["j"] + params["w"]]
        assert boxes_within(places, sizes_that_fit, size).tolist() == [box]


def test_erasing_zeroes_one_rectangle_of_a_share_p_of_the_images_with_torchvisions_areas() -> None:
    from torchvision.transforms import v2

    n, size = 2000, (20, 24)
    images = torch.rand(n, 2, *size) + 0.5
    targets = soft_targets(torch.arange(n) % 5, 5)
    images_after, same = RandomErasing(p=0.4).mix(images, targets, rng())
    assert same is targets
    boxes = [b for b in erased_boxes(images, images_after) if b]
    assert abs(len(boxes) / n - 0.4) < 5 * (0.24 / n) ** 0.5
    ours = np.array([[b[1] - b[0], b[3] - b[2], b[0] / (size[0] - b[1] + b[0]), b[2] / (size[1] - b[3] + b[2])] for b in boxes])
    torch.manual_seed(0)
    reference = v2.RandomErasing(p=1.0, scale=(0.02, 0.33), ratio=(0.3, 1 / 0.3))
    params = [reference.make_params([images[0]]) for _ in range(800)]
    theirs = np.array([[q["h"], q["w"], q["i"] / (size[0] - q["h"]), q["j"] / (size[1] - q["w"])] for q in params])
    for f in (lambda v: v[:, 0] * v[:, 1], lambda v: np.log(v[:, 0] / v[:, 1]), lambda v: v[:, 2], lambda v: v[:, 3]):
        a, b = f(ours), f(theirs)
        assert abs(a.mean() - b.mean()) < 4.5 * (a.var() / len(a) + b.var() / len(b)) ** 0.5
        assert abs(a.std() / b.std() - 1) < 0.15


def test_noise_fills_exactly_what_zero_would_and_is_standard_normal() -> None:
    images = torch.rand(64, 3, 32, 32) + 9
    targets = torch.ones(64, 1)
    zeros, _ = RandomErasing(p=0.7).mix(images, targets, rng(3))
    noise, _ = RandomErasing(p=0.7, value="noise").mix(images, targets, rng(3))
    mask = zeros == 0
    assert noise[~mask].equal(images[~mask])
    draws = noise[mask].double()
    assert len(draws) > 10_000
    assert abs(draws.mean()) < 5 / len(draws) ** 0.5
    assert abs(draws.var() - 1) < 5 * (2 / len(draws)) ** 0.5
    assert noise.equal(RandomErasing(p=0.7, value="noise").mix(images, targets, rng(3))[0])


@pytest.mark.formula("random_erasing")
def test_squares_are_those_of_the_cutout_paper() -> None:
    size, length = (20, 32), 8
    centers = rng().random((300, 2))
    ours = squares(np.full(300, length**2 / (20 * 32)), centers, size)
    for center, box in zip(centers, ours, strict=True):  # the loop of the paper's code
        y, x = int(center[0] * size[0]), int(center[1] * size[1])
        y1, y2 = np.clip(y - length // 2, 0, size[0]), np.clip(y + length // 2, 0, size[0])
        x1, x2 = np.clip(x - length // 2, 0, size[1]), np.clip(x + length // 2, 0, size[1])
        assert box.tolist() == [y1, y2, x1, x2]
    images = torch.rand(200, 1, *size) + 1
    cutout = RandomErasing(p=1.0, shape="square", min_area=0.1, max_area=0.1)
    boxes = [b for b in erased_boxes(images, cutout.mix(images, images, rng())[0]) if b]
    assert len(boxes) == 200
    assert {(b[1] - b[0], b[3] - b[2]) for b in boxes if b[0] and b[2] and b[1] < 20 and b[3] < 32} == {(8, 8)}
    assert any(b[0] == 0 and b[1] < 8 for b in boxes), "some are cut off"


@pytest.mark.parametrize("size", [(1, 1), (3, 17), (32, 32)])
@pytest.mark.parametrize("fields", [{}, {"shape": "square"}, {"value": "noise"}, {"min_area": 1.0, "max_area": 1.0}])
def test_erasing_takes_any_size_and_strength_zero_changes_nothing(size: tuple[int, int], fields: dict[str, Any]) -> None:
    images, targets = torch.rand(3, 4, *size) + 1, torch.ones(3, 1)
    technique = RandomErasing(p=1.0, **fields)
    for seed in range(20):
        assert technique.mix(images, targets, rng(seed))[0].isfinite().all()
        none = technique.with_strength(0)
        assert none
        assert none.mix(images, targets, rng(seed))[0] is images


def test_each_image_is_erased_before_it_is_mixed() -> None:
    assert Plan([CutMix(), ResizeMix(), RandomErasing()]).regularizers[0].name == "random_erasing"


# ---- ResizeMix


@pytest.mark.formula("resizemix")
def test_resizemix_pastes_the_whole_partner_as_torchvision_resizes_it() -> None:
    from torchvision.transforms.v2.functional import resize

    images, size = torch.rand(5, 3, 24, 32), (24, 32)
    targets = soft_targets(torch.arange(5), 5)
    shares = []
    for seed in range(300):
        mixture, t = ResizeMix().mix(images, targets, rng(seed))
        partner = int((t[0] * torch.tensor([0.0, 1, 1, 1, 1])).argmax())
        mask = (mixture != images).all(0).all(0)
        y, x = torch.where(mask)
        top, bottom, left, right = int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1
        assert mask[top:bottom, left:right].all()
        assert mask.sum() == (bottom - top) * (right - left)
        small = resize(images[partner], [bottom - top, right - left], antialias=True)
        torch.testing.assert_close(mixture[0, :, top:bottom, left:right], small)
        share = int(mask.sum()) / (size[0] * size[1])
        assert t[0].tolist() == pytest.approx([1 - share if k == 0 else share if k == partner else 0 for k in range(5)])
        shares.append((bottom - top) / size[0])
        assert abs((bottom - top) / size[0] - (right - left) / size[1]) < 0.5 / 24 + 0.5 / 32 + 1e-9, "the shape is kept"
    assert 0.08 < min(shares) < 0.15
    assert 0.75 < max(shares) < 0.82
    assert abs(np.mean(shares) - 0.45) < 5 * 0.7 / 12**0.5 / 300**0.5


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (28, 28)])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_resizemix_takes_any_batch_and_size(n: int, size: tuple[int, int]) -> None:
    images = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 4, *size).clone()
    for seed in range(20):
        x, t = ResizeMix().mix(images, soft_targets(torch.arange(n), n), rng(seed))
        share = torch.stack([((x - k).abs() < 1e-4).float().mean((1, 2, 3)) for k in range(n)], dim=1)
        torch.testing.assert_close(t, share, rtol=0, atol=1e-6)


# ---- manifold mixup


def network() -> nn.Sequential:
    """Three blocks in float64, each with a trunk site at its end."""
    torch.manual_seed(0)
    block = lambda: nn.Sequential(nn.Linear(6, 6), nn.Tanh(), Site("trunk"))  # noqa: E731
    return nn.Sequential(nn.Flatten(), block(), block(), block(), nn.Linear(6, 5)).double()


def shares(model: nn.Module) -> list[float]:
    return [m.partner_weight.value.item() for m in model.modules() if isinstance(m, Mixer)]


def operate_on(technique: ManifoldMixup, model: nn.Module, dataset_info: DatasetInfo) -> ManifoldMixup:
    """The technique that knows its mixers in the model."""
    result = technique.surgery(model, dataset_info)
    assert result is not None
    return result


def test_plans_of_one_technique_act_each_on_its_own_model_and_a_technique_without_a_bound_copy_stays_itself() -> None:
    technique, ghosts = ManifoldMixup(alpha=1.0), GhostBatchNorm()
    plans, models = [Plan([technique, ghosts]) for _ in range(2)], [build_model("resnet_small", GRAY) for _ in range(2)]
    for plan, model in zip(plans, models, strict=True):
        plan.surgery(model, GRAY)
    for seed in range(20):
        plans[0].mix(images_of(GRAY), torch.eye(4), StepContext(seed))
    assert any(shares(models[0]))
    assert not any(shares(models[1]))
    assert all(ghosts in plan.regularizers for plan in plans)
    assert technique in Plan([technique]).regularizers, "and the technique of the configuration is bound to no model"
    assert technique not in plans[0].regularizers


@pytest.mark.formula("manifold_mixup")
def test_manifold_mixup_mixes_one_hidden_state_as_by_hand_and_the_targets_alike() -> None:
    plain, model = network(), network()
    technique = operate_on(ManifoldMixup(alpha=1.0), model, GRAY)
    images, targets = torch.randn(5, 1, 2, 3, dtype=torch.float64), torch.eye(5, dtype=torch.float64)
    layers = []
    for seed in range(60):
        mixture, t = technique.resolve(0.5).mix(images, targets, rng(seed))
        lam = t[0, 0].item()
        assert sorted(t[0].tolist()) == pytest.approx(sorted([lam, 1 - lam, 0, 0, 0])), "an image and one partner"
        layer = next((k for k, share in enumerate(shares(model), start=1) if share), 0)
        assert mixture.equal(images) is (layer > 0)
        h = images.flatten(1)
        for k in range(5):  # with a class for each image, the targets are the matrix that mixes
            h = plain[k](h)
            h = t @ h if k == layer else h
        torch.testing.assert_close(model.train()(mixture), h, rtol=1e-6, atol=1e-7)  # λ is kept in float32
        layers.append(layer)
    assert set(layers) == {0, 1, 2, 3}


def test_every_layer_is_drawn_as_often_and_lambda_from_its_beta() -> None:
    model = network()
    technique = operate_on(ManifoldMixup(alpha=0.5), model, GRAY)
    images, targets = torch.randn(3, 1, 2, 3), soft_targets(torch.arange(3), 4)
    counts, draws = np.zeros(4), []
    for seed in range(1200):
        _, t = technique.mix(images, targets, rng(seed))
        layer_shares = shares(model)
        counts[next((k for k, share in enumerate(layer_shares, start=1) if share), 0)] += 1
        draws.append(t[0, 0].item())
        if any(layer_shares):
            assert sum(layer_shares) == pytest.approx(1 - t[0, 0].item(), abs=1e-6)
    assert ((counts - 300) ** 2 / 300).sum() < 16.3, "χ² with 3 degrees of freedom, at 1 in 1000"
    assert abs(np.mean(draws) - 0.5) < 4 * (0.125 / 1200) ** 0.5
    assert abs(np.var(draws) - 0.125) < 0.015


@pytest.mark.parametrize("name", ["resnet_small", "vit_tiny"])
def test_a_mixer_rests_until_it_is_its_turn_in_a_step(name: str) -> None:
    model, plain = build_model(name, COLOR), build_model(name, COLOR)
    technique = operate_on(ManifoldMixup(alpha=1.0), model, COLOR)
    x, targets = images_of(COLOR), torch.eye(4)
    assert model.train()(x).equal(plain.train()(x)), "bit for bit"
    seed = next(s for s in range(20) if technique.mix(x, targets, rng(s))[0] is x and any(shares(model)))
    twin = copy.deepcopy(model)
    technique.mix(x, targets, rng(seed))
    assert not torch.allclose(model(x), plain(x), atol=1e-4)
    assert model(x).shape == twin(x).shape
    model.load_state_dict(plain.state_dict())
    assert model.eval()(x).equal(plain.eval()(x)), "in inference it is the identity, too"
    model.train()
    for dial in (m for m in model.modules() if isinstance(m, RampBuffer)):
        dial.update(0.5)  # what the task does when a step begins
    assert model(x).equal(plain.train()(x))
    technique.mix(x, targets, rng(seed))
    none = technique.model_copy(update={"p": 0.0})
    assert none.mix(x, targets, rng(seed))[0] is x
    assert not any(shares(model)), "a batch that is not mixed is not mixed anywhere"


def test_a_mixed_hidden_state_keeps_its_type() -> None:
    mixer = Mixer().train()
    mixer.partner_weight.value.fill_(0.25)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        h = torch.tensor([[4.0], [8.0]], dtype=dtype)
        assert mixer(h).dtype == dtype
        assert mixer(h).flatten().tolist() == [5.0, 7.0]


def test_a_model_without_blocks_is_refused_and_at_strength_zero_left_alone() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
    with pytest.raises(InputError, match="manifold_mixup"):
        ManifoldMixup().surgery(plain, GRAY)
    Plan([ManifoldMixup()], strength=0.0).surgery(plain, GRAY)


def test_both_passes_of_sam_mix_alike_and_another_techniques_turn_finds_the_mixers_at_rest(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[tuple[int, float, float]] = []
    loss = Plan.loss

    def spy(
        self: Plan, model: nn.Module, images: Tensor, targets: Tensor, logits: Tensor, counts: Tensor, now: StepContext
    ) -> Any:
        own = targets.max(1).values.min().item()
        rows.append((now.step, sum(shares(model)), own))
        return loss(self, model, images, targets, logits, counts, now)

    monkeypatch.setattr(Plan, "loss", spy)
    run("regularizer=[manifold_mixup,cutmix,sam]", "regularizer.manifold_mixup.p=1", "data.batch_size=16")
    assert len(rows) == 8
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first == second
        share, own = first[1:]
        assert share == 0 or own == pytest.approx(max(share, 1 - share), abs=1e-5)
    assert {share > 0 for _, share, _ in rows} == {True, False}
