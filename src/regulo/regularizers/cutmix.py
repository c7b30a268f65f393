"""CutMix (Yun et al., 2019, arXiv:1905.04899): paste a box of another image, and share the target by area.

    λ ~ Beta(α, α); a box of sides W √(1 − λ), H √(1 − λ) around a uniform centre, clipped to the image;
    ỹ = λ' y_i + (1 − λ') y_j, where 1 − λ' is the clipped box's share of the pixels (the paper's own code corrects λ so)

The partner j is the next image of the batch, which the sampler has shuffled.
"""

import math
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor

from regulo.regularizers.base import Regularizer


class CutMix(Regularizer):
    """Replace a box of each image by the same box of another one of the batch, and mix the targets by area."""

    source: ClassVar[str] = "arXiv:1905.04899"
    turns: ClassVar[str] = "mixing"

    alpha: Annotated[float, Field(gt=0)] = 1.0
    """α of λ ~ Beta(α, α)"""
    p: Annotated[float, Field(ge=0, le=1)] = 1.0
    """probability that a batch is mixed"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        if generator.random() >= self.p:
            return images, targets
        height, width = images.shape[-2:]
        lam = generator.beta(self.alpha, self.alpha)
        centre = int(generator.integers(height)), int(generator.integers(width))
        top, bottom, left, right = box(lam, centre, height, width)
        share = (bottom - top) * (right - left) / (height * width)
        images = images.clone()
        images[..., top:bottom, left:right] = images.roll(1, 0)[..., top:bottom, left:right]
        return images, targets.mul(1 - share).add_(targets.roll(1, 0), alpha=share)


def box(lam: float, centre: tuple[int, int], height: int, width: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) in pixels of the clipped box whose unclipped area is 1 − λ of the image."""
    half_h = int(height * math.sqrt(1 - lam) / 2)
    half_w = int(width * math.sqrt(1 - lam) / 2)
    y, x = centre
    return max(y - half_h, 0), min(y + half_h, height), max(x - half_w, 0), min(x + half_w, width)
