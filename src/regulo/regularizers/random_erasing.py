"""Random erasing (Zhong et al., 2017, arXiv:1708.04896, algorithm 1), and cutout (DeVries & Taylor, 2017, arXiv:1708.04552).

    random   area a·HW with a ~ U(a₀, a₁), aspect ratio h / w = e^u with u ~ U(log r, −log r), wholly inside the image
    square   cutout: a ~ U(a₀, a₁), h = w, around a uniform centre, so that the image's border may cut a part off

What is erased becomes the mean of the data (0 in normalised units), or noise. The label stays.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from regulo.core.ranges import Share
from regulo.core.schedule import Rampable
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.boxes import box_mask, boxes_within

Ratio = Annotated[float, Field(gt=0, le=1)]
TRIES = 10


class RandomErasing(Regularizer):
    """Erase a random rectangle of some of the images, each its own, before images are mixed."""

    reference: ClassVar[str] = "arXiv:1708.04896; arXiv:1708.04552"
    tags: ClassVar[frozenset[str]] = frozenset({"augments"})
    order: ClassVar[int] = -10
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)

    p: Rampable[Share] = 0.25
    """probability that an image is erased: .1 to .25, .5 on small images; cutout 1"""
    min_area: Share = 0.02
    """a₀, the smallest share of the pixels (but no more than `max_area`)"""
    max_area: Rampable[Share] = 0.33
    """a₁, the largest share of the pixels; cutout's squares of 16 pixels of 32 are min_area = max_area = .25"""
    min_ratio: Rampable[Ratio] = 0.3
    """r of `random`: the aspect ratio lies between r and 1 / r"""
    value: Literal["zero", "noise"] = "zero"
    """the mean of the data, or a draw from N(0, 1) for each pixel and channel"""
    shape: Literal["random", "square"] = "random"
    """rectangles inside the image, or cutout's squares, which may hang over its border"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        n, size = len(images), (images.shape[-2], images.shape[-1])
        erased = generator.random(n) < self.p
        if not erased.any():
            return images, targets
        lowest = min(self.min_area, self.max_area)
        if self.shape == "square":
            boxes = squares(generator.uniform(lowest, self.max_area, n), generator.random((n, 2)), size)
        else:
            u = np.log(self.min_ratio)
            areas, logs = generator.uniform(lowest, self.max_area, (n, TRIES)), generator.uniform(u, -u, (n, TRIES))
            boxes = boxes_within(generator.random((n, 2)), first_fit(rectangles(areas, np.exp(logs), size), size), size)
        region = box_mask(boxes * erased[:, None], images)
        if self.value == "zero":
            return images.masked_fill(region, 0), targets
        own = torch.Generator(images.device).manual_seed(int(generator.integers(2**63)))
        noise = torch.randn(images.shape, generator=own, device=images.device, dtype=images.dtype)
        return noise.where(region, images), targets


def rectangles(areas: np.ndarray, ratios: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sides (…, 2) in pixels of rectangles with these shares of the area and ratios h / w (…)."""
    pixels = areas * size[0] * size[1]
    return np.stack([np.sqrt(pixels * ratios), np.sqrt(pixels / ratios)], axis=-1).round().astype(int)


def first_fit(sides: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Of tries (n, T, 2), the first (n, 2) that leaves something of both sides of the image; without one, nothing (0, 0)."""
    fits = (sides[..., 0] < size[0]) & (sides[..., 1] < size[1])
    return sides[np.arange(len(sides)), fits.argmax(1)] * fits.any(1, keepdims=True)


def squares(areas: np.ndarray, centres: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) of these shares (n,) of the area around centres (n, 2) in [0, 1)², cut off at the border."""
    side = np.array(size)
    length = np.sqrt(areas * side.prod()).round().astype(int)[:, None]
    low = (centres * side).astype(int) - length // 2
    low, high = np.maximum(low, 0), np.minimum(low + length, side)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
