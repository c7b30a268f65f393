"""Corrupted images, with which robustness is measured: Hendrycks & Dietterich (2019), arXiv:1903.12261.

Severities 1, 2, 3 are the paper's 1, 3, 5. Its code has two tables: CIFAR-10-C for images of 32 pixels, ImageNet-C for 224.
Between these sizes the strength is linear in the logarithm of the shorter side; outside them it is constant. Rotations are not
in the paper: up to 30 degrees in both directions, as in Engstrom et al. (2019), arXiv:1712.02779.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

SMALL, LARGE = 32, 224
"""shorter sides, in pixels, of the paper's two tables"""
SEVERITIES = (1, 2, 3)

STRENGTHS: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "noise": ((0.04, 0.08, 0.10), (0.08, 0.18, 0.38)),  # standard deviation, for pixels in [0, 1]
    "blur": ((0.4, 0.7, 1.0), (1, 3, 6)),  # standard deviation, in pixels
    "contrast": ((0.75, 0.4, 0.15), (0.4, 0.2, 0.05)),  # share of the contrast that is left
    "brightness": ((0.05, 0.15, 0.3), (0.1, 0.3, 0.5)),  # added, for pixels in [0, 1]
    "jpeg": ((80, 58, 40), (25, 15, 7)),  # quality, at most 100
    "pixelate": ((0.95, 0.85, 0.65), (0.6, 0.4, 0.25)),  # share of the resolution that is left
    "rotation": ((10, 20, 30), (10, 20, 30)),  # degrees
}
"""the strength of each kind at each severity, for SMALL and for LARGE images"""
KINDS = tuple(STRENGTHS)


def corrupt(image: np.ndarray, kind: str, severity: int, index: int) -> np.ndarray:
    """A corrupted copy (H, W, C) uint8 of an image (H, W, C) uint8 with H, W ≥ 8 and C = 1 or 3.

    Random numbers depend on kind, severity and index, not on the pixels.
    Raises KeyError for an unknown kind and ValueError for an unknown severity.
    """
    amount = strength(kind, severity, min(image.shape[:2]))
    rng = np.random.default_rng([KINDS.index(kind), severity, index])
    return _FUNCTIONS[kind](image, amount, rng).reshape(image.shape)  # cv2 drops the channel axis if C = 1


def strength(kind: str, severity: int, side: int) -> float:
    """The strength of a kind at severity 1, 2 or 3, for images whose shorter side has `side` pixels. Units: see STRENGTHS."""
    small, large = (table[SEVERITIES.index(severity)] for table in STRENGTHS[kind])
    fraction = math.log(side / SMALL) / math.log(LARGE / SMALL)
    return small + (large - small) * min(max(fraction, 0.0), 1.0)


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Round, and clip to 0 to 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _noise(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return _to_uint8(image + 255 * amount * rng.standard_normal(image.shape))


def _blur(image: np.ndarray, amount: float, _: np.random.Generator) -> np.ndarray:
    import cv2

    return cv2.GaussianBlur(image, (0, 0), amount, borderType=cv2.BORDER_REPLICATE)


def _contrast(image: np.ndarray, amount: float, _: np.random.Generator) -> np.ndarray:
    mean = image.mean((0, 1), keepdims=True)
    return _to_uint8(mean + amount * (image - mean))


def _brightness(image: np.ndarray, amount: float, _: np.random.Generator) -> np.ndarray:
    """Increase the value of HSV, which is the largest channel; hue and saturation stay."""
    value = image.max(2, keepdims=True).astype(np.float64)
    new_value = np.minimum(value + 255 * amount, 255)
    return _to_uint8(np.where(value > 0, image * new_value / np.maximum(value, 1), new_value))


def _jpeg(image: np.ndarray, amount: float, _: np.random.Generator) -> np.ndarray:
    import cv2

    gray = image.shape[2] == 1
    success, encoded = cv2.imencode(".jpg", image if gray else image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, round(amount)])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    assert success
    assert decoded is not None
    return decoded if gray else decoded[..., ::-1]


def _pixelate(image: np.ndarray, amount: float, _: np.random.Generator) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    coarse = cv2.resize(image, (int(width * amount), int(height * amount)), interpolation=cv2.INTER_AREA)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _rotation(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Rotate in a random direction about the center; new corners repeat the border pixels."""
    import cv2

    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), amount * rng.choice((-1, 1)), 1.0)
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


_FUNCTIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "jpeg": _jpeg,
    "pixelate": _pixelate,
    "rotation": _rotation,
}
