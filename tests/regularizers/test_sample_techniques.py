"""Techniques on single images and on their order: TrivialAugment, AugMix, 3-Augment, repeated augmentation."""

import functools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.schedule import Ramp
from regulo.core.types import DatasetInfo, LossInputs, Split, soft_cross_entropy, soft_targets
from regulo.data.components.dataset import BatchedImages
from regulo.data.components.sampler import TrainBatchSampler
from regulo.models.components.classifier import Classifier
from regulo.regularizers.aug_mix import AugMix, jensen_shannon
from regulo.regularizers.components.plan import Plan, find_conflicts
from regulo.regularizers.manifold_mixup import ManifoldMixup
from regulo.regularizers.repeated_augmentation import RepeatedAugmentation
from regulo.regularizers.resizemix import ResizeMix
from regulo.regularizers.three_augment import ThreeAugment
from regulo.regularizers.trivial_augment import TrivialAugment
from regulo.training import autotune, speed_memory
from tests.conftest import COLOR, GRAY, rng

DATASET_INFOS = pytest.mark.parametrize("dataset_info", [GRAY, COLOR], ids=["gray", "color"])


def photograph(dataset_info: DatasetInfo, seed: int = 0) -> np.ndarray:
    return rng(seed).integers(0, 256, (dataset_info.height, dataset_info.width, dataset_info.channels), dtype="uint8")


# ---- TrivialAugment


@pytest.mark.formula("trivial_augment")
@DATASET_INFOS
def test_trivial_augment_is_torchvisions(dataset_info: DatasetInfo) -> None:
    from torchvision.transforms import v2

    image = photograph(dataset_info)
    (transform,) = TrivialAugment().transform([], dataset_info)
    for seed in range(30):
        ours = transform.apply(image, seed=seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            torch.rand(1)  # whether to augment at all
            theirs = v2.TrivialAugmentWide()(torch.from_numpy(image).permute(2, 0, 1))
        assert (ours == theirs.permute(1, 2, 0).numpy()).all()


def test_trivial_augment_acts_on_a_share_p_and_not_at_all_at_strength_zero() -> None:
    image = photograph(COLOR)
    shares = {}
    for p in (0.0, 0.5, 1.0):
        none = TrivialAugment().with_strength(p)
        assert none
        (transform,) = none.transform([], COLOR)
        shares[p] = np.mean([not (transform.apply(image, seed=s) == image).all() for s in range(300)])
    assert shares[0.0] == 0
    assert abs(shares[0.5] - shares[1.0] / 2) < 0.12


# ---- AugMix


@pytest.mark.formula("aug_mix")
@DATASET_INFOS
def test_augmix_stacks_the_clean_image_and_two_draws_of_torchvisions_augmix(dataset_info: DatasetInfo) -> None:
    from torchvision.transforms import v2

    image, c = photograph(dataset_info), dataset_info.channels
    (transform,) = AugMix(severity=4, width=2, depth=3, alpha=0.7).transform([], dataset_info)
    (single,) = AugMix(severity=4, width=2, depth=3, alpha=0.7, views=False).transform([], dataset_info)
    theirs = v2.AugMix(4, 2, 3, 0.7, all_ops=False)
    plain = torch.from_numpy(image).permute(2, 0, 1)
    for seed in range(10):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            one, two = [theirs(plain).permute(1, 2, 0).numpy() for _ in range(2)]
        ours = transform.apply(image, seed=seed)
        assert (ours[..., :c] == image).all()
        assert (ours[..., c : 2 * c] == one).all()
        assert (ours[..., 2 * c :] == two).all()
        assert (single.apply(image, seed=seed) == one).all()


@DATASET_INFOS
def test_the_views_come_out_normalized_one_after_the_other(dataset_info: DatasetInfo) -> None:
    images = np.stack([photograph(dataset_info, s) for s in range(3)])
    data = BatchedImages(Split(images, np.arange(3)), AugMix().transform([], dataset_info), seed=0)
    batch = data.__getitems__([(0, i, 0) for i in range(3)])
    assert batch.images.shape == (3, 3 * dataset_info.channels, dataset_info.height, dataset_info.width)
    views = Classifier(nn.Identity(), dataset_info, "contiguous").normalize(batch.images)
    assert views.shape == (9, dataset_info.channels, dataset_info.height, dataset_info.width)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    shape = (1, dataset_info.channels, 1, 1)
    expected = (pixels - torch.tensor(dataset_info.mean).view(shape)) / torch.tensor(dataset_info.std).view(shape)
    torch.testing.assert_close(views[:3], expected, rtol=1e-5, atol=1e-5)
    assert not views[3:6].equal(views[6:])


def reference_jsd(views: list[torch.Tensor]) -> torch.Tensor:
    """As in the code of the paper."""
    clean, one, two = [v.softmax(1) for v in views]
    mixture = torch.clamp((clean + one + two) / 3.0, 1e-7, 1).log()
    return sum(F.kl_div(mixture, p, reduction="batchmean") for p in (clean, one, two)) / 3.0  # type: ignore[return-value]


@pytest.mark.formula("aug_mix")
def test_the_jensen_shannon_term_is_that_of_the_papers_code() -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(18, 5)).requires_grad_()
    targets = soft_targets(torch.arange(6) % 5, 5)
    step = LossInputs(nn.Identity(), torch.zeros(18, 1, 2, 2), targets, logits, soft_cross_entropy)
    ours = AugMix(jsd=12.0).penalty(step)
    expected = 12 * reference_jsd(list(logits.double().split(6)))
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)
    theirs = torch.autograd.grad(expected, logits)[0]
    torch.testing.assert_close(torch.autograd.grad(ours, logits)[0], theirs, rtol=1e-4, atol=1e-6)


def test_the_jensen_shannon_term_lies_between_zero_and_log_3_and_survives_certainty() -> None:
    torch.manual_seed(0)
    same = torch.randn(4, 5)
    assert jensen_shannon([same, same, same]).abs() < 1e-6
    assert jensen_shannon([same]).abs() < 1e-6, "one view agrees with itself"
    apart = [300 * torch.eye(3)[[k]].requires_grad_() for k in range(3)]
    divergence = jensen_shannon(apart)
    assert divergence.item() == pytest.approx(np.log(3), abs=1e-5)
    assert all(g.isfinite().all() for g in torch.autograd.grad(divergence, apart))


def test_augmix_scales_its_severity_and_its_weight_and_is_absent_at_zero() -> None:
    half, none = AugMix(severity=6, jsd=12.0).with_strength(0.5), AugMix().with_strength(0)
    assert half
    assert (half.severity, half.jsd) == (3, 6.0)
    assert none is None
    with_ramp = AugMix(jsd=Ramp[float](start=0.0, end=12.0)).with_strength(2)  # type: ignore[arg-type]
    assert with_ramp
    assert with_ramp.resolve(1.0).jsd == 24.0
    assert with_ramp.severity == 6


def test_augmix_stands_last_and_refuses_what_mixes_one_of_its_views() -> None:
    assert Plan([AugMix(), TrivialAugment(), ThreeAugment()]).regularizers[-1].name == "aug_mix"
    for other in (ManifoldMixup(), ResizeMix()):
        (problem,) = find_conflicts([AugMix(), other])
        assert "same image" in str(problem)
    with pytest.raises(InputError, match="mixup"):
        compose.load_config(["regularizer=[aug_mix,mixup]"])


def test_a_run_with_three_views_trains_and_is_measured_on_them(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: dict[str, tuple[int, ...]] = {}

    def record_autotune(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, *_: Any) -> autotune.AutotuneResult:
        shapes["measured"] = (*images.shape, len(targets))
        return autotune.AutotuneResult("32-true", "contiguous")

    loss = Plan.loss

    def spy(self: Plan, model: nn.Module, images: torch.Tensor, targets: torch.Tensor, *rest: Any) -> Any:
        shapes["trained"] = (*images.shape, len(targets))
        total, parts = loss(self, model, images, targets, *rest)
        assert set(parts) == {"data", "aug_mix"}
        assert 0 < parts["aug_mix"].item() < 12 * np.log(3)
        return total, parts

    monkeypatch.setattr(speed_memory, "recall", lambda name: None)
    monkeypatch.setattr(autotune, "choose_fastest", record_autotune)
    monkeypatch.setattr(Plan, "loss", spy)
    _, result = run("regularizer=[augment,aug_mix,label_smoothing]", "trainer.precision=auto", "data.batch_size=16")
    assert result["status"] == "done"
    assert shapes == {"measured": (48, 1, 28, 28, 48), "trained": (48, 1, 28, 28, 16)}


# ---- 3-Augment


def variants(image: np.ndarray, n: int = 300) -> list[np.ndarray]:
    dataset_info = DatasetInfo(image.shape[2], *image.shape[:2], ("a", "b"), (0.5,) * image.shape[2], (0.5,) * image.shape[2])
    data = BatchedImages(Split(image[None], np.zeros(1, int)), ThreeAugment().transform([], dataset_info), seed=0)
    batch = data.__getitems__([(0, 0, copy) for copy in range(n)])
    return list(batch.images.permute(0, 2, 3, 1).numpy())


@pytest.mark.formula("three_augment")
def test_three_augment_is_gray_solarized_or_blurred_each_as_often() -> None:
    from PIL import Image, ImageOps

    image = photograph(COLOR)
    gray = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)
    solarized_image = np.asarray(ImageOps.solarize(Image.fromarray(image), 128))
    kinds: Counter[str] = Counter()
    for v in variants(image):
        if (abs(v.astype(int) - gray) <= 1).all():
            kinds["gray"] += 1
        elif (v == solarized_image).all():
            kinds["solarized"] += 1
        else:
            assert abs(v.mean((0, 1)) - image.mean((0, 1))).max() < 4
            assert v.std() <= image.std()
            kinds["blurred"] += 1
    assert all(70 < kinds[k] < 130 for k in ("gray", "solarized", "blurred")), kinds


def test_the_blur_is_gaussian_with_a_deviation_from_a_tenth_of_a_pixel_to_two() -> None:
    image = np.zeros((29, 29, 1), "uint8")
    image[14, 14] = 255
    x = np.arange(29) - 14
    deviations = []
    for v in variants(image):
        if (v == image).all() or not v.any():  # gray already; solarized; or too little blur to see
            continue
        row = v[14, :, 0].astype(float)
        deviations.append(((row * x**2).sum() / row.sum()) ** 0.5)
        assert (v[..., 0] == v[..., 0].T).all()
        assert abs(v.astype(int).sum() - 255) < 40
    assert min(deviations) < 0.6
    assert 1.7 < max(deviations) < 2.05


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_three_augment_takes_any_number_of_channels(channels: int) -> None:
    image = rng().integers(0, 256, (9, 11, channels), dtype="uint8")
    assert all(v.shape == image.shape for v in variants(image, 30))


# ---- repeated augmentation


@pytest.mark.formula("repeated_augmentation")
def test_an_epoch_keeps_its_length_and_visits_each_image_that_it_visits_in_a_row() -> None:
    places = rng().permutation(10)
    assert (
        RepeatedAugmentation(repeats=3).sequence(places, places, rng()).tolist() == [p for q in places[:4] for p in [q] * 3][:10]
    )
    assert (RepeatedAugmentation(repeats=1).sequence(places, places, rng()) == places).all()
    assert Plan([RepeatedAugmentation()], strength=0.0).regularizers == []


def test_copies_are_numbered_dealt_out_over_ranks_and_augmented_differently() -> None:
    plan = Plan([RepeatedAugmentation(repeats=3), TrivialAugment()])
    sequence = functools.partial(plan.sequence, labels=np.zeros(36, int), seed=0)
    ranks = [[k for keys in TrainBatchSampler(36, 4, 0, r, 3, sequence) for k in keys] for r in range(3)]
    for together in zip(*ranks, strict=True):
        assert len({index for _, index, _ in together}) == 1, "each rank has one copy of the same image"
        assert {copy for *_, copy in together} == {0, 1, 2}
    assert len({index for _, index, _ in ranks[0]}) == 12
    split = Split(np.stack([photograph(COLOR, s) for s in range(36)]), np.zeros(36, int))
    batch = BatchedImages(split, plan.transforms([], COLOR), 0).__getitems__([r[0] for r in ranks])
    assert len({image.numpy().tobytes() for image in batch.images}) > 1
