"""The resizing of evaluation as part of a graph: every row and column of the result is a weighted sum of those of the image.

    y = R x Cᵀ,  R (h, H), C (w, W)       the weights depend on H and W only, and are computed in the graph

So one graph takes images of any size, and no operator is needed that runtimes compute in different ways.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.data.components.image_io import MAX_ASPECT

Filter = Callable[[Tensor, Tensor, Tensor], Tensor]
"""from places in the result (n, 1) and in the source (1, m), and source pixels per result pixel (): weights (n, m), not
normalized"""


def area(target: Tensor, source: Tensor, scale: Tensor) -> Tensor:
    """The part of a source pixel that a result pixel covers: cv2.INTER_AREA."""
    begin, end = target * scale, (target + 1) * scale
    return (torch.minimum(end, source + 1) - torch.maximum(begin, source)).clamp(min=0)


def linear(target: Tensor, source: Tensor, scale: Tensor) -> Tensor:
    """The two nearest source pixels, however small the result is: cv2.INTER_LINEAR."""
    return (1 - (source + 0.5 - (target + 0.5) * scale).abs()).clamp(min=0)


def antialiased_linear(target: Tensor, source: Tensor, scale: Tensor) -> Tensor:
    """The triangle filter, as wide as a result pixel: Pillow's BILINEAR, and torch's with antialias=True."""
    return (1 - _distance(target, source, scale)).clamp(min=0)


def antialiased_cubic(target: Tensor, source: Tensor, scale: Tensor) -> Tensor:
    """Keys' cubic filter with a = −1/2, as wide as a result pixel: Pillow's BICUBIC, and torch's with antialias=True."""
    x = _distance(target, source, scale)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _distance(target: Tensor, source: Tensor, scale: Tensor) -> Tensor:
    """From the middle of each result pixel to that of each source pixel, in widths of the filter."""
    return (source + 0.5 - (target + 0.5) * scale).abs() / scale.clamp(min=1)


@dataclass(frozen=True)
class ResizeRule:
    """How any image gets the size (height, width): the shorter side is resized to `short_side`, then the center is cropped.

    Without `short_side` each side is resized by itself, and nothing is cropped.
    """

    height: int
    width: int
    short_side: int | None
    filter: Filter


def resize_rule(transforms: Sequence[Any]) -> ResizeRule:
    """The rule that these albumentations transforms follow. Raises InputError for others."""
    import cv2

    filters = {cv2.INTER_AREA: area, cv2.INTER_LINEAR: linear}
    names = [type(transform).__name__ for transform in transforms]
    if transforms[0].interpolation in filters and names == ["SmallestMaxSize", "CenterCrop"]:
        resize, crop = transforms
        return ResizeRule(crop.height, crop.width, resize.max_size, filters[resize.interpolation])
    if transforms[0].interpolation in filters and names == ["Resize"]:
        resize = transforms[0]
        return ResizeRule(resize.height, resize.width, None, filters[resize.interpolation])
    what = f"the data set resizes images by {' and '.join(names)}, for which an exported graph has no form"
    raise InputError(Problem("data", what, "an edge of a fixed length and a crop of the center can be exported"))


class Resize(nn.Module):
    """Images (N, H, W, C) uint8 of any size to (N, C, h, w) float32: whole numbers from 0 to 255."""

    def __init__(self, rule: ResizeRule) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, images: Tensor) -> Tensor:
        """R x Cᵀ, rounded as pixels are."""
        _, height, width, _ = images.shape
        sides = torch.full((), height, dtype=torch.float64), torch.full((), width, dtype=torch.float64)
        rows = self._weights(torch.arange(height), sides[0], sides[1], self.rule.height)
        columns = self._weights(torch.arange(width), sides[1], sides[0], self.rule.width)
        resized = rows @ images.permute(0, 3, 1, 2).float() @ columns.T
        return resized.round().clamp(0, 255)

    def _weights(self, places: Tensor, side: Tensor, other: Tensor, count: int) -> Tensor:
        """The weights (count, m) of the pixels at m places along a side, for the pixels that are left of the result."""
        short = torch.minimum(side, other)
        visible = torch.minimum(side, MAX_ASPECT * short)  # of an image that is too long, its middle
        size = (visible * (self.rule.short_side / short)).round() if self.rule.short_side else torch.full_like(side, count)
        target = torch.arange(count, dtype=torch.float64) + ((size - count) / 2).floor()
        source = places.double() - ((side - visible) / 2).floor()
        weights = self.rule.filter(target[:, None], source[None], visible / size)
        weights = weights * ((source >= 0) & (source < visible))
        return (weights / weights.sum(1, keepdim=True)).float()
