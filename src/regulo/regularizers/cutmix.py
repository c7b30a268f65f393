"""CutMix (Yun et al., 2019, arXiv:1905.04899): paste a box of another image, and share the target by area.

    λ ~ Beta(α, α);  a box with the sides W √(1 − λ), H √(1 − λ) around a uniform center, clipped to the image
    ỹ = λ' y_i + (1 − λ') y_j,   1 − λ' is the share of the pixels that lies in the clipped box

The authors' code corrects λ to λ' in the same way.
"""

from typing import ClassVar

import numpy as np
from torch import Tensor

from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.components.beta_mixing import BetaMixing
from regulo.regularizers.components.boxes import box_area, boxes_around, paste_boxes
from regulo.regularizers.components.mixing import Mode, blend, num_draws, partners, per_image


def cutmix(images: Tensor, targets: Tensor, boxes: np.ndarray, mode: Mode) -> tuple[Tensor, Tensor]:
    """x̃ and ỹ from images (B, C, H, W), targets (B, K) and boxes (1, 4) for `batch`, else (B, 4)."""
    height, width = images.shape[-2:]
    lam = 1 - box_area(boxes) / (height * width)
    return paste_boxes(images, partners(images, mode), boxes), blend(targets, lam, mode)


class CutMix(BetaMixing):
    """Replace a box of each image by the same box of another image of the batch, and mix the targets by area."""

    reference: ClassVar[str] = "arXiv:1905.04899"
    search_space: ClassVar[SearchSpace] = SearchSpace(0.4, {"p": Between(0.2, 1.0)})

    mode: Mode = "batch"
    """one box for the whole batch, for each pair, or for each image (element)"""

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        n, size = len(images), (images.shape[-2], images.shape[-1])
        lam = self.draw_lambda(generator, num_draws(self.mode, n))
        if lam is None:
            return images, targets
        boxes = boxes_around(generator.random((len(lam), 2)), 1 - lam, size)
        return cutmix(images, targets, per_image(boxes, self.mode, n), self.mode)
