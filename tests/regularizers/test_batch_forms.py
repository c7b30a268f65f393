"""The batched forms of techniques on images: the same pixels as the forms for single images, and the same distributions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from regulo.core.resize import RandomBox, resize_image
from regulo.core.rng import ImageDraws
from regulo.core.types import DatasetInfo, Split
from regulo.data.components.dataset import BatchedImages
from regulo.regularizers.augment import Augment
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.batch_color import jitter_colors, to_gray
from regulo.regularizers.components.batch_geometry import blur, crop_and_flip, draw_boxes, resize_boxes, rotate_and_flip
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.three_augment import ThreeAugment
from tests.conftest import COLOR, GRAY, rng

DATASET_INFOS = pytest.mark.parametrize("dataset_info", [GRAY, COLOR], ids=["gray", "color"])


def keys_of(n: int, epoch: int = 0) -> np.ndarray:
    """The first visits of n images."""
    return np.column_stack([np.full(n, epoch), np.arange(n), np.zeros(n, int)])


def noise(dataset_info: DatasetInfo, n: int) -> np.ndarray:
    return rng().integers(0, 256, (n, dataset_info.height, dataset_info.width, dataset_info.channels), dtype="uint8")


def tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())


def compare(batch: Tensor, references: list[np.ndarray], atol: float, mean: float, share: float = 1.0) -> None:
    """The largest absolute difference of a share of the pixels, and the mean one, in levels of 255."""
    expected = np.stack([image if image.ndim == 3 else image[..., None] for image in references]).astype(int)
    difference = np.abs(batch.permute(0, 2, 3, 1).numpy().astype(int) - expected)
    assert batch.dtype == torch.uint8
    assert np.quantile(difference, share) <= atol
    assert difference.mean() <= mean


# ---- pixels, for parameters that are given


@pytest.mark.formula("augment")
@DATASET_INFOS
def test_a_crop_and_a_flip_are_those_of_albumentations_exactly(dataset_info: DatasetInfo) -> None:
    import albumentations as A

    images, margin = noise(dataset_info, 40), (3, 2)
    height, width = dataset_info.height, dataset_info.width
    corners, flip = rng().integers(0, [7, 5], (40, 2)), rng(1).random(40) < 0.5
    pad, mirror = A.Pad((2, 3), border_mode=0, p=1.0), A.HorizontalFlip(p=1.0)
    references = []
    for image, (y, x), f in zip(images, corners.tolist(), flip, strict=True):
        window = A.Crop(x, y, x + width, y + height, p=1.0)
        result = window(image=pad(image=image)["image"])["image"]
        references.append(mirror(image=result)["image"] if f else result)
    compare(crop_and_flip(tensor(images), corners, margin, flip), references, atol=0, mean=0)


@pytest.mark.formula("augment")
@DATASET_INFOS
def test_a_rotation_is_that_of_albumentations(dataset_info: DatasetInfo) -> None:
    import albumentations as A

    images, degrees, flip = noise(dataset_info, 40), np.linspace(-180, 180, 40), rng(1).random(40) < 0.5
    references = []
    for image, angle, f in zip(images, degrees.tolist(), flip, strict=True):
        result = A.Rotate((angle, angle), border_mode=0, p=1.0)(image=image)["image"].reshape(image.shape)
        references.append(result[:, ::-1] if f else result)
    compare(rotate_and_flip(tensor(images), degrees, flip), references, atol=1, mean=0.01)


@pytest.mark.formula("augment")
@DATASET_INFOS
def test_a_resized_box_is_that_of_the_loader(dataset_info: DatasetInfo) -> None:
    images, flip = noise(dataset_info, 60), rng(1).random(60) < 0.5
    height, width = dataset_info.height, dataset_info.width
    boxes = draw_boxes(ImageDraws(0, "augment", keys_of(60)), RandomBox(0.05), (height, width))
    references = []
    for image, (top, left, box_height, box_width), f in zip(images, boxes.tolist(), flip, strict=True):
        result = resize_image(image[top : top + box_height, left : left + box_width], height, width, "bilinear")
        references.append(result[:, ::-1] if f else result)
    compare(resize_boxes(tensor(images), boxes, flip), references, atol=1, mean=0.2)


@pytest.mark.formula("augment")
@DATASET_INFOS
def test_a_color_jitter_is_that_of_albumentations(dataset_info: DatasetInfo) -> None:
    """By rounding, a hue may differ by one of OpenCV's 180 steps."""
    import albumentations as A

    images = noise(dataset_info, 120)
    factors = np.column_stack([rng().uniform(0.5, 1.5, (120, 3)), rng(1).uniform(-0.1, 0.1, 120)])
    orders = rng(2).random((120, 4)).argsort(1)
    theirs = A.ColorJitter(p=1.0)
    references = [
        theirs.apply(image, *values, order).reshape(image.shape)
        for image, values, order in zip(images, factors.tolist(), orders.tolist(), strict=True)
    ]
    ours = jitter_colors(tensor(images), factors, orders)
    compare(ours, references, atol=1, mean=0.1, share=0.98)
    with pytest.raises(AssertionError):
        compare(ours, list(images), atol=100, mean=5)


@pytest.mark.formula("three_augment")
@DATASET_INFOS
def test_a_blur_and_gray_are_those_of_albumentations(dataset_info: DatasetInfo) -> None:
    from albumentations.augmentations.blur.functional import create_gaussian_kernel_1d
    from albumentations.augmentations.pixel.functional import separable_convolve

    images, sigmas = noise(dataset_info, 40), np.linspace(0.1, 2.0, 40)
    references = [
        separable_convolve(image, create_gaussian_kernel_1d(sigma)) for image, sigma in zip(images, sigmas.tolist(), strict=True)
    ]
    compare(blur(tensor(images), sigmas), [r.reshape(images[0].shape) for r in references], atol=1, mean=0.02)
    if dataset_info is COLOR:
        import albumentations as A

        gray = [A.ToGray(p=1.0)(image=image)["image"] for image in images]
        compare(to_gray(tensor(images).float()).expand(-1, 3, -1, -1).to(torch.uint8), gray, atol=1, mean=0.01)


# ---- distributions


def two_ways(technique: Regularizer, images: np.ndarray, dataset_info: DatasetInfo, n: int) -> tuple[np.ndarray, np.ndarray]:
    """What n visits of one image become in the loader and in batches, (n, H, W, C) each."""
    split = Split(images[None], np.zeros(1, int))
    resize = technique.transform([], dataset_info)
    loader = BatchedImages(split, resize, seed=0).__getitems__([(0, 0, copy) for copy in range(n)])
    keys = np.column_stack([np.zeros((n, 2), int), np.arange(n)])
    batch = Plan([technique]).transform_batch(tensor(np.repeat(images[None], n, 0)), keys, seed=0)
    return loader.images.permute(0, 2, 3, 1).numpy(), batch.permute(0, 2, 3, 1).numpy()


def brightest(images: np.ndarray) -> np.ndarray:
    """The place y, x of the brightest pixel of each image, (n, 2)."""
    return np.column_stack(np.unravel_index(images[..., 0].reshape(len(images), -1).argmax(1), images.shape[1:3]))


def same_counts(one: np.ndarray, other: np.ndarray) -> float:
    """P value of the chi-squared test that two samples (n, …) of whole numbers have one distribution."""
    values, codes = np.unique(np.concatenate([one, other]), axis=0, return_inverse=True)
    table = [np.bincount(part, minlength=len(values)) for part in np.split(codes.ravel(), [len(one)])]
    return float(stats.chi2_contingency(table).pvalue)


def test_crops_and_flips_have_one_distribution_in_both_ways() -> None:
    image = np.zeros((28, 28, 1), "uint8")
    image[14, 9] = 255  # left of the middle: a place says the corner of the window and the flip
    draws = []
    for images in two_ways(Augment(padding=0.08, flip=0.3), image, GRAY, 4000):
        y, x = brightest(images).T
        flip = x > 14
        draws.append(np.column_stack([y - 12, np.where(flip, 27 - x, x) - 7, flip]))
    loader, batch = draws
    for column in range(3):
        assert same_counts(loader[:, column], batch[:, column]) > 1e-3
    assert abs(batch[:, 2].mean() - 0.3) < 5 * (0.21 / 4000) ** 0.5
    for way in draws:
        counts = np.bincount(way @ [5, 1, 25], minlength=50).reshape(2, 25)
        assert stats.chisquare(counts.sum(0)).pvalue > 1e-3, "all corners as often"
        assert stats.chi2_contingency(counts).pvalue > 1e-3, "whatever the corner, as many are flipped"


def test_rotations_have_one_distribution_in_both_ways() -> None:
    image = np.zeros((28, 28, 1), "uint8")
    image[12:16, 22:26] = 255
    one, other = two_ways(Augment(crop=None, flip=0.0, rotate=30.0), image, GRAY, 1500)
    y, x = np.mgrid[:28, :28] - 13.5

    def angles(images: np.ndarray) -> np.ndarray:
        weights = images[..., 0].astype(float)
        return np.asarray(np.rad2deg(np.arctan2((weights * y).sum((1, 2)), (weights * x).sum((1, 2)))))

    assert stats.ks_2samp(angles(one), angles(other)).pvalue > 1e-3
    assert stats.kstest(angles(other), stats.uniform(-30, 60).cdf).pvalue > 1e-3


def test_resized_boxes_have_one_distribution_in_both_ways() -> None:
    y, x = np.mgrid[:32, :32]
    image = np.stack([8 * y, 8 * x, 0 * x], axis=-1).astype("uint8")  # two corners say the box
    one, other = two_ways(Augment(crop="resized", min_area=0.1, flip=0.0), image, COLOR, 1500)
    for measure in MEASURES:
        assert stats.ks_2samp(measure(one.astype(float)), measure(other.astype(float))).pvalue > 1e-3


MEASURES: list[Callable[[Any], Any]] = [
    lambda i: i[:, -1, 0, 0] - i[:, 0, 0, 0],  # height
    lambda i: i[:, 0, -1, 1] - i[:, 0, 0, 1],  # width
    lambda i: i[:, 0, 0, 0],  # top
    lambda i: i[:, 0, 0, 1],  # left
    lambda i: (i[:, -1, 0, 0] - i[:, 0, 0, 0]) * (i[:, 0, -1, 1] - i[:, 0, 0, 1]),  # area
]


def test_a_box_that_does_not_fit_is_drawn_again_and_at_last_it_is_the_largest_in_the_middle() -> None:
    boxes = draw_boxes(ImageDraws(0, "augment", keys_of(300)), RandomBox(1.0), (10, 40))
    assert np.unique(boxes, axis=0).tolist() == [[0, 13, 10, 13]], "no box of all the area has such an aspect"
    boxes = draw_boxes(ImageDraws(0, "augment", keys_of(300)), RandomBox(0.2), (10, 40))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= (10, 40)).all()


@DATASET_INFOS
def test_color_jitters_have_one_distribution_in_both_ways(dataset_info: DatasetInfo) -> None:
    image = np.zeros((dataset_info.height, dataset_info.width, dataset_info.channels), "uint8")
    image[:16] = (200, 90, 40)[: dataset_info.channels]
    image[16:] = (30, 60, 160)[: dataset_info.channels]
    one, other = two_ways(Augment(crop=None, flip=0.0, jitter=0.4), image, dataset_info, 2000)
    for row in (0, -1):
        for channel in range(dataset_info.channels):
            a, b = (images[:, row, 0, channel].astype(float) for images in (one, other))
            assert stats.ks_2samp(a, b).pvalue > 1e-3, (row, channel)
            assert abs(a.std() / b.std() - 1) < 0.1


KINDS = ("as it is", "gray", "solarized", "blurred")


def test_three_augment_has_one_distribution_in_both_ways() -> None:
    image = np.full((16, 16, 3), 20, "uint8")
    image[8:, 8:] = (250, 60, 100)
    ways = two_ways(ThreeAugment(p=0.7), image, COLOR, 2000)
    kinds = [np.array([KINDS.index(classify(x.astype(int))) for x in images]) for images in ways]
    assert set(kinds[1]) == {0, 1, 2, 3}
    assert same_counts(*kinds) > 1e-3

    # at p = 1: otherwise the loader draws no large deviations, as the same number decides whether an image is changed
    blurred = [images[:, 8, 8, 0][images[:, 8, 8, 0] < 250] for images in two_ways(ThreeAugment(), image, COLOR, 2000)]
    one, other = (values[values > 20] for values in blurred)
    assert stats.ks_2samp(one, other).pvalue > 1e-3


def classify(image: np.ndarray) -> str:
    """Which change of 3-Augment an image has gone through."""
    corner = image[-1, -1].tolist()
    if len(set(corner)) == 1:
        return "gray"
    if corner == [5, 60, 100]:
        return "solarized"
    return "as it is" if image[8, 8].tolist() == image[7, 7].tolist() or image[8, 8].tolist() == corner else "blurred"


@DATASET_INFOS
@pytest.mark.parametrize("padding", [0.0, 0.08, 1.0])
def test_all_parts_together_take_any_strength(dataset_info: DatasetInfo, padding: float) -> None:
    images = tensor(noise(dataset_info, 9))
    for crop in ("pad", "resized", None):
        for strength in (0.5, 1.0, 3.0):
            technique = Augment(crop=crop, padding=padding, flip=0.5, jitter=0.4, rotate=20.0).with_strength(strength)
            assert technique
            result = Plan([technique]).transform_batch(images, keys_of(9), seed=0)
            assert result.shape == images.shape
            assert not result.equal(images)
    nothing = Augment(crop=None, flip=0.0)
    assert Plan([nothing]).transform_batch(images, keys_of(9), seed=0).equal(images)
