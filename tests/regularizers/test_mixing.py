"""No mixed image is mislabeled: image k shows class k in a channel of its own, so that pixels can be compared with targets."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from regulo.config import compose
from regulo.core import registry
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp
from regulo.core.types import soft_targets
from regulo.regularizers.base import Regularizer, used_hooks
from regulo.regularizers.components.mixing import Mode, partners
from regulo.regularizers.components.plan import Plan, find_conflicts
from regulo.regularizers.cutmix import CutMix
from regulo.regularizers.mixup import Mixup
from tests.conftest import rng

MIXING = [n for n in registry.list_plugins("regularizer") if "mix" in used_hooks(registry.get_plugin("regularizer", n)())]
MODES: tuple[Mode, ...] = ("batch", "pair", "element")
SIZE = (11, 14)


def batch(n: int) -> tuple[Tensor, Tensor]:
    """Images (n, n, H, W), of which image k is 1 in channel k and 0 elsewhere, and their targets (n, n)."""
    return torch.eye(n)[:, :, None, None].expand(n, n, *SIZE).clone(), soft_targets(torch.arange(n), n)


def content(images: Tensor) -> Tensor:
    """What each image shows of each class (B, K), as shares of its pixels; what is erased shows nothing."""
    return images.mean((2, 3))


# ---- mixup and CutMix in every mode


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("cls", [Mixup, CutMix])
def test_target_rows_are_the_pixel_shares_in_batches_of_any_size(cls: type[Mixup] | type[CutMix], n: int, mode: Mode) -> None:
    images, targets = batch(n)
    for seed in range(60):
        x, t = cls(alpha=1.0, mode=mode).mix(images, targets, rng(seed))
        torch.testing.assert_close(t, content(x), rtol=0, atol=1e-6)
        assert ((t > 0).sum(1) <= 2).all()
        other = partners(torch.arange(n), mode)
        assert (t.gather(1, other[:, None])[:, 0] + t.diagonal() * (other != torch.arange(n))).sub(1).abs().max() < 1e-6


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("cls", [Mixup, CutMix])
def test_the_two_images_of_a_pair_are_mixed_with_each_other_and_alike(cls: type[Mixup] | type[CutMix], n: int) -> None:
    images, targets = batch(n)
    for seed in range(20):
        x, t = cls(alpha=1.0, mode="pair").mix(images, targets, rng(seed))
        torch.testing.assert_close(t, t.T, rtol=0, atol=1e-6)
        assert {(i, j) for i, j in (t > 1e-6).nonzero().tolist() if i != j} <= {(i, n - 1 - i) for i in range(n)}
        if n % 2:
            assert x[n // 2].equal(images[n // 2]), "the middle one is its own partner"


@pytest.mark.parametrize("cls", [Mixup, CutMix])
def test_modes_share_one_lambda_per_batch_per_pair_or_not_at_all(cls: type[Mixup] | type[CutMix]) -> None:
    images, targets = batch(7)
    for mode, most in (("batch", 1), ("pair", 4), ("element", 7)):
        counts = {
            len({round(v, 5) for v in cls(alpha=1.0, mode=mode).mix(images, targets, rng(s))[1].diagonal().tolist()})  # type: ignore[arg-type]
            for s in range(40)
        }
        assert max(counts) == most


def test_one_mixing_after_the_other_mislabels_nothing() -> None:
    """A trainer in which MixUp and CutMix each keep a permutation of their own put up to .127 of the mass on a wrong class."""
    images, targets = batch(6)
    for seed, mode in itertools.product(range(40), MODES):
        x, t = CutMix(mode=mode).mix(*Mixup(alpha=1.0, mode=mode).mix(images, targets, rng(seed)), rng(seed + 1))
        torch.testing.assert_close(t, content(x), rtol=0, atol=1e-6)


def test_mixing_ends_where_its_ramp_says_although_loader_workers_persist() -> None:
    """Elsewhere the switch of the last epochs reaches a copy of the collate function that no worker has."""
    p = Ramp[float](start=0.5, end=0.0, shape="steps", until=0.9)
    plan = Plan([Mixup(alpha=1.0, p=p), CutMix(p=p)])  # type: ignore[arg-type]
    images, targets = batch(4)
    is_mixed = np.array(
        [not plan.mix(images, targets, StepContext(0, step=s, progress=s / 1000))[1].equal(targets) for s in range(1000)]
    )
    assert abs(is_mixed[:900].mean() - 0.5) < 5 * (0.25 / 900) ** 0.5
    assert not is_mixed[900:].any()


# ---- every pair of techniques


def technique(name: str) -> Regularizer:
    """As its YAML has it."""
    return compose.load_config([f"regularizer=[{name}]"]).regularizer[name]


def spread(r: Regularizer) -> float:
    """ε of a technique that gives every class ε / K of the mass and leaves images alone, else 0."""
    images, targets = batch(6)
    draws = [r.resolve(0.0).mix(images, targets, rng(s)) for s in range(400)]
    if any(not x.equal(images) for x, _ in draws):
        return 0.0
    share = torch.stack([t for _, t in draws]).diagonal(dim1=1, dim2=2).mean().item()
    return (1 - share) * 6 / 5


@pytest.mark.parametrize(("one", "two"), list(itertools.combinations(MIXING, 2)))
def test_no_pair_of_techniques_mislabels(one: str, two: str) -> None:
    """The mass of each class is what the pixels show of it: exactly where nothing was erased, else on the average."""
    pair = [technique(one), technique(two)]
    if find_conflicts(pair):
        pytest.skip("refused")
    plan, (images, targets) = Plan(pair), batch(6)
    epsilon = 1 - float(np.prod([1 - spread(r) for r in pair]))
    off, sums = [], []
    for step in range(200):
        x, t = plan.mix(images, targets, StepContext(1, step=step))
        shares = content(x)
        sums.append(shares.sum(1, keepdim=True))
        off.append(t - (1 - epsilon) * shares / sums[-1] - epsilon / 6)
    error, whole = torch.stack(off), (torch.stack(sums) - 1).abs() < 3e-6
    assert (error * whole).abs().max() < 1e-5
    assert error.mean(0).abs().max() < 0.01


def test_the_partner_of_an_image_is_not_its_copy_under_repeated_augmentation() -> None:
    """The neighbor in the batch would be: two of three images would be mixed with themselves."""
    from regulo.regularizers.repeated_augmentation import RepeatedAugmentation

    for size in (8, 64, 128):
        places = RepeatedAugmentation(repeats=3).sequence(rng().permutation(size * 4), np.zeros(size * 4, int), rng())[:size]
        labels = torch.from_numpy(places)
        own = (partners(labels, "batch") == labels).double().mean().item()
        assert own == 0 if size > 8 else own < 0.5
