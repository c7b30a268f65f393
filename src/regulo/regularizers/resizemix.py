"""ResizeMix (Qin et al., 2020, arXiv:2012.11101): paste a small copy of another image, and mix the targets by
area.

    τ ~ U(τ₀, τ₁);  a box with the sides ⌊τH⌉, ⌊τW⌉ at a uniform position inside the image
    ỹ = λ y_i + (1 − λ) y_j,   1 − λ is the share of the pixels that lies in the box

Unlike a box that is cut out of the other image, a small copy always shows the object that is added to the target.
"""

from typing import Annotated, ClassVar

import numpy as np
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from regulo.core.ranges import Share
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.boxes import box_area, boxes_within, paste_box
from regulo.regularizers.components.mixing import blend, partners

Scale = Annotated[float, Field(gt=0, le=1)]


def resizemix(images: Tensor, targets: Tensor, box: np.ndarray) -> tuple[Tensor, Tensor]:
    """x̃ and ỹ from images (B, C, H, W), targets (B, K) and one box (4,)."""
    height, width = images.shape[-2:]
    top, bottom, left, right = box.tolist()
    small = F.interpolate(partners(images, "batch"), (bottom - top, right - left), mode="bilinear", antialias=True)
    return paste_box(images, small, box), blend(targets, 1 - box_area(box[None]) / (height * width))


class ResizeMix(Regularizer):
    """Cover a box of each image with a small copy of another image of the batch, and mix the targets by area."""

    reference: ClassVar[str] = "arXiv:2012.11101"
    one_of: ClassVar[str] = "mixing"
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.1, {"p": Between(0.2, 1.0)})

    min_scale: Scale = 0.1
    """τ₀, the smallest side of the copy, as a share of the side of the image (but no more than `max_scale`)"""
    max_scale: Rampable[Scale] = 0.8
    """τ₁, the largest"""
    p: Rampable[Share] = 1.0
    """probability that a batch is mixed"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        if generator.random() >= self.p:
            return images, targets
        size = (images.shape[-2], images.shape[-1])
        scale = generator.uniform(min(self.min_scale, self.max_scale), self.max_scale)
        sides = np.maximum(np.rint(scale * np.array(size)), 1).astype(int)
        (box,) = boxes_within(generator.random((1, 2)), sides[None], size)
        return resizemix(images, targets, box)
