"""Corruptions: closed forms, the paper's strengths at the paper's sizes, and properties of every kind."""

import numpy as np
import pytest

from regulo.evaluation.corruptions import KINDS, SEVERITIES, corrupt, strength
from tests.conftest import rng

SHAPES = [(28, 28, 1), (32, 32, 3), (8, 11, 3), (9, 8, 1), (64, 96, 3)]


def image(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Smooth, with some texture, so that every kind changes it."""
    height, width, channels = shape
    y, x, c = np.meshgrid(np.arange(height) / height, np.arange(width) / width, np.arange(channels), indexing="ij")
    wave = 110 + 60 * np.sin(9 * x + 5 * y + c) + 40 * np.cos(14 * y - c) + rng(seed).normal(0, 6, shape)
    return wave.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_shape_and_type_stay_and_the_same_index_gives_the_same_pixels(kind: str, shape: tuple[int, int, int]) -> None:
    clean = image(shape)
    before = clean.copy()
    for severity in SEVERITIES:
        output = corrupt(clean, kind, severity, 5)
        assert output.shape == shape
        assert output.dtype == np.uint8
        assert np.array_equal(output, corrupt(clean, kind, severity, 5))
    assert np.array_equal(clean, before), "the image itself does not change"


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (224, 224, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_severity_is_farther_from_the_image(kind: str, shape: tuple[int, int, int]) -> None:
    distances = []
    for severity in SEVERITIES:
        pairs = [(clean.astype(float), corrupt(clean, kind, severity, i)) for i in range(3) for clean in [image(shape, i)]]
        distances.append(np.mean([np.square(a - b).mean() for a, b in pairs]))
    assert 0 < distances[0] < distances[1] < distances[2]


def test_random_numbers_differ_between_images_and_severities() -> None:
    gray = np.full((32, 32, 1), 128, np.uint8)
    noise = [corrupt(gray, "noise", 2, i).astype(float) - 128 for i in range(2)] + [
        corrupt(gray, "noise", 3, 0).astype(float) - 128
    ]
    for a, b in ((0, 1), (0, 2)):
        assert abs(np.corrcoef(noise[a].ravel(), noise[b].ravel())[0, 1]) < 0.15


def test_noise_has_the_expected_standard_deviation() -> None:
    gray = np.full((32, 32, 3), 128, np.uint8)
    values = np.concatenate([corrupt(gray, "noise", 2, i).ravel() for i in range(20)]).astype(float)
    assert values.mean() == pytest.approx(128, abs=0.5)
    assert values.std() == pytest.approx(255 * 0.08, rel=0.02)


def test_contrast_is_an_affine_map_about_the_mean() -> None:
    clean = image((32, 32, 3))
    expected = clean.mean((0, 1)) + 0.4 * (clean - clean.mean((0, 1)))
    assert np.abs(corrupt(clean, "contrast", 2, 0) - expected).max() <= 0.5


def test_brightness_raises_the_value_and_keeps_hue_and_saturation() -> None:
    """Compared with the standard library's HSV color space."""
    import colorsys

    clean = image((8, 8, 3))
    clean[0, 0] = 0  # black has no hue
    output = corrupt(clean, "brightness", 2, 0)
    for pixel in np.ndindex(8, 8):
        h, s, v = colorsys.rgb_to_hsv(*(clean[pixel] / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb(h, s, min(v + 0.15, 1)))
        assert np.abs(output[pixel] - expected).max() <= 0.5 + 1e-9


def test_pixelate_is_the_mean_of_blocks() -> None:
    """224 pixels and a quarter of the resolution: whole blocks of 4 × 4."""
    clean = image((224, 224, 3))
    blocks = clean.reshape(56, 4, 56, 4, 3).mean((1, 3))
    expected = blocks.repeat(4, 0).repeat(4, 1)
    assert np.abs(corrupt(clean, "pixelate", 3, 0) - expected).max() <= 0.5


def test_blur_is_a_gaussian_of_the_expected_width() -> None:
    """Compared with scipy, on a single bright pixel."""
    from scipy.ndimage import gaussian_filter

    clean = np.zeros((33, 33, 1), np.uint8)
    clean[16, 16] = 255
    expected = gaussian_filter(clean[..., 0].astype(float), strength("blur", 3, 33), mode="nearest")
    assert np.abs(corrupt(clean, "blur", 3, 0)[..., 0] - expected).max() < 1.5


def test_rotation_turns_about_the_center_in_both_directions() -> None:
    clean = np.zeros((33, 33, 1), np.uint8)
    clean[16, 16:] = 255  # a ray from the center to the right
    angles = set()
    for index in range(8):
        y, x = np.nonzero(corrupt(clean, "rotation", 3, index)[..., 0] > 100)
        far = np.hypot(y - 16, x - 16) > 8
        angles.add(round(np.degrees(np.arctan2(16 - y[far].mean(), x[far].mean() - 16))))
    assert {abs(a) for a in angles} <= {29, 30, 31}
    assert min(angles) < 0 < max(angles)


def test_the_strengths_are_those_of_the_paper_at_its_sizes_and_interpolated_between_them() -> None:
    for kind in KINDS:
        for severity in SEVERITIES:
            small, middle, large = (strength(kind, severity, side) for side in (32, 85, 224))
            assert min(small, large) <= middle <= max(small, large)
            assert strength(kind, severity, 8) == small
            assert strength(kind, severity, 500) == large
    assert [strength("noise", s, 32) for s in SEVERITIES] == [0.04, 0.08, 0.10]  # severities 1, 3, 5 of CIFAR-10-C
    assert [strength("jpeg", s, 224) for s in SEVERITIES] == [25, 15, 7]  # and of ImageNet-C
    middle = (32 * 224) ** 0.5
    assert strength("contrast", 1, middle) == pytest.approx((0.75 + 0.4) / 2)  # type: ignore[arg-type]
