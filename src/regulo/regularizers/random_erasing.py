"""Random erasing (Zhong et al., 2017, arXiv:1708.04896, algorithm 1), and cutout (DeVries & Taylor, 2017, arXiv:1708.04552).

    random   area a·HW with a ~ U(a₀, a₁), aspect ratio h / w = e^u with u ~ U(log r, −log r), completely inside the image
    square   cutout: a ~ U(a₀, a₁), h = w, around a uniform center; the border of the image may cut a part off

Erased pixels become the mean of the data (0 in normalized units), or noise. The label does not change.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from regulo.core.ranges import Share
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.boxes import box_mask, boxes_within

Ratio = Annotated[float, Field(gt=0, le=1)]
TRIES = 10
"""draws of a rectangle per image, of which the first one that fits is used"""


def rectangles(areas: np.ndarray, ratios: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sides (…, 2) as h, w in pixels of rectangles with these shares (…) of the area and ratios h / w (…)."""
    pixels = areas * size[0] * size[1]
    return np.stack([np.sqrt(pixels * ratios), np.sqrt(pixels / ratios)], axis=-1).round().astype(int)


def first_fit(sides: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Of T tries per image (n, T, 2), the first one (n, 2) that is smaller than the image in both sides; (0, 0) if none is."""
    fits = (sides[..., 0] < size[0]) & (sides[..., 1] < size[1])
    return sides[np.arange(len(sides)), fits.argmax(1)] * fits.any(1, keepdims=True)


def squares(areas: np.ndarray, centers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) with these shares (n,) of the area around centers (n, 2) in [0, 1)², clipped to the image."""
    side = np.array(size)
    length = np.sqrt(areas * side.prod()).round().astype(int)[:, None]
    low = (centers * side).astype(int) - length // 2
    low, high = np.maximum(low, 0), np.minimum(low + length, side)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


class RandomErasing(Regularizer):
    """Erase a random rectangle in some of the images, a different one in each, before images are mixed."""

    reference: ClassVar[str] = "arXiv:1708.04896; arXiv:1708.04552"
    tags: ClassVar[frozenset[str]] = frozenset({"augments"})
    order: ClassVar[int] = -10
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.3, {"p": Between(0.1, 0.6)})

    p: Rampable[Share] = 0.25
    """probability that an image is erased: .1 to .25, .5 on small images; cutout 1"""
    min_area: Share = 0.02
    """a₀, the smallest share of the pixels (but no more than `max_area`)"""
    max_area: Rampable[Share] = 0.33
    """a₁, the largest share of the pixels; the squares of cutout, 16 of 32 pixels wide, are min_area = max_area = .25"""
    min_ratio: Rampable[Ratio] = 0.3
    """r of `random`: the aspect ratio lies between r and 1 / r"""
    value: Literal["zero", "noise"] = "zero"
    """the mean of the data, or a draw from N(0, 1) for each pixel and channel"""
    shape: Literal["random", "square"] = "random"
    """rectangles inside the image, or the squares of cutout, which its border may cut"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        n, size = len(images), (images.shape[-2], images.shape[-1])
        erase = generator.random(n) < self.p
        if not erase.any():
            return images, targets
        lowest = min(self.min_area, self.max_area)
        if self.shape == "square":
            boxes = squares(generator.uniform(lowest, self.max_area, n), generator.random((n, 2)), size)
        else:
            u = np.log(self.min_ratio)
            areas = generator.uniform(lowest, self.max_area, (n, TRIES))
            ratios = np.exp(generator.uniform(u, -u, (n, TRIES)))
            sides = first_fit(rectangles(areas, ratios, size), size)
            boxes = boxes_within(generator.random((n, 2)), sides, size)
        region = box_mask(boxes * erase[:, None], images)
        if self.value == "zero":
            return images.masked_fill(region, 0), targets
        torch_generator = torch.Generator(images.device).manual_seed(int(generator.integers(2**63)))
        noise = torch.randn(images.shape, generator=torch_generator, device=images.device, dtype=images.dtype)
        return noise.where(region, images), targets
