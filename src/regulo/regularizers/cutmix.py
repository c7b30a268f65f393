"""CutMix (Yun et al., 2019, arXiv:1905.04899): paste a box of another image, and share the target by area.

λ ~ Beta(α, α); a box of sides W √(1 − λ), H √(1 − λ) around a uniform centre, clipped to the image;
ỹ = λ' y_i + (1 − λ') y_j, where 1 − λ' is the clipped box's share of the pixels (the paper's own code corrects λ so)
"""

from typing import ClassVar

import numpy as np
from torch import Tensor

from regulo.boxes import area, around, inside
from regulo.mixing import Mode, blend, draws, partners, spread
from regulo.ramps import Rampable
from regulo.ranges import NonNegative, Share
from regulo.regularizers.base import Regularizer


class CutMix(Regularizer):
    """Replace a box of each image by the same box of another one of the batch, and mix the targets by area."""

    source: ClassVar[str] = "arXiv:1905.04899"
    turns: ClassVar[str] = "mixing"
    scales: ClassVar[tuple[str, ...]] = ("p",)

    alpha: Rampable[NonNegative] = 1.0
    """α of λ ~ Beta(α, α); 0 mixes nothing"""
    p: Rampable[Share] = 1.0
    """probability that a batch is mixed"""
    mode: Mode = "batch"
    """one box for the whole batch, for each pair, or for each image (element)"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        if generator.random() >= self.p or self.alpha == 0:
            return images, targets
        n, size = len(images), (images.shape[-2], images.shape[-1])
        count = draws(self.mode, n)
        share = 1 - generator.beta(self.alpha, self.alpha, count)
        boxes = spread(around(generator.random((count, 2)), share, size), self.mode, n)
        return paste(images, partners(images, self.mode), boxes), blend(targets, 1 - area(boxes) / (size[0] * size[1]), self.mode)


def paste(images: Tensor, others: Tensor, boxes: np.ndarray) -> Tensor:
    """Images (B, C, H, W) with boxes (1, 4) or (B, 4) of the others in their place."""
    if len(boxes) > 1:
        return others.where(inside(boxes, images), images)
    top, bottom, left, right = boxes[0].tolist()
    images = images.clone()
    images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return images
