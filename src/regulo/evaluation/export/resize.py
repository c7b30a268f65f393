"""The resizing of evaluation as part of a graph: every row and column of the result is a weighted sum of those of the image.

    y = R (x Cᵀ),  R (h, H), C (w, W)       the weights depend on H and W only, and are computed in the graph

So one graph takes images of any size, and no operator is needed that runtimes compute differently. The weights are whole numbers
below 2¹⁵, as in torch's kernel for uint8, which `core.resize` calls. All sums stay below 2²⁴ and are exact in float32, in
whatever order a runtime adds.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from regulo.core import resize
from regulo.core.errors import InputError, Problem
from regulo.core.resize import CenterBox, WholeBox
from regulo.data.components.image_io import MAX_ASPECT

Filter = Callable[[Tensor], Tensor]
"""from distances, in widths of the filter, to weights that are not normalized"""


def triangle(x: Tensor) -> Tensor:
    """The filter of bilinear interpolation."""
    return (1 - x).clamp(min=0)


def cubic(x: Tensor) -> Tensor:
    """Keys' filter with a = −1/2."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


FILTERS: dict[str, Filter] = {"bilinear": triangle, "bicubic": cubic}


class Resize(nn.Module):
    """Images (N, H, W, C) uint8 of any size to (N, C, h, w) float32: whole numbers from 0 to 255. Raises InputError for a rule
    whose box is neither the whole image nor its center.
    """

    def __init__(self, rule: resize.Resize) -> None:
        super().__init__()
        if not isinstance(rule.choose_box, CenterBox | WholeBox):
            what = f"the data set cuts images by {type(rule.choose_box).__name__}, for which an exported graph has no form"
            raise InputError(Problem("data", what, "the center of an image, and a whole image, can be exported"))
        self.size, self.filter = (rule.height, rule.width), FILTERS[rule.interpolation]
        self.share = rule.choose_box.share if isinstance(rule.choose_box, CenterBox) else None

    def forward(self, images: Tensor) -> Tensor:
        """R (x Cᵀ)."""
        sides = [torch.full((), side, dtype=torch.float64) for side in images.shape[1:3]]
        visible = [torch.minimum(side, MAX_ASPECT * torch.minimum(*sides)) for side in sides]  # of a long image, its middle
        if self.share is None:
            boxes = visible
        else:
            scale = torch.minimum(visible[0] / self.size[0], visible[1] / self.size[1]) * self.share
            boxes = [(side * scale).round().clamp(min=1) for side in self.size]
        (rows, row_scale), (columns, column_scale) = (
            self._weights(torch.arange(images.shape[1 + axis]), self.size[axis], sides[axis], visible[axis], boxes[axis])
            for axis in (0, 1)
        )
        pixels = _to_pixels(images.permute(0, 3, 1, 2).float() @ columns.T, column_scale)
        return _to_pixels(rows @ pixels, row_scale)

    def _weights(self, places: Tensor, count: int, side: Tensor, visible: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """The weights (count, m) of the pixels at m places along a side, of which a box in the middle becomes `count` pixels.

        They are whole numbers; the second result is the power of two by which they are multiplied.
        """
        begin = ((side - visible) / 2).floor() + ((visible - box) / 2).floor()
        source = places.double() - begin
        scale = box / count
        middles = (torch.arange(count, dtype=torch.float64) + 0.5) * scale
        weights = self.filter((source[None] + 0.5 - middles[:, None]).abs() / scale.clamp(min=1))
        weights = weights * ((source >= 0) & (source < box))
        weights = weights / weights.sum(1, keepdim=True)
        powers = 2.0 ** torch.arange(1, 23, dtype=torch.float64)
        power = 2.0 ** ((0.5 + weights.max() * powers).floor() < 2**15).sum().double()  # the largest that keeps them below 2¹⁵
        scaled = weights * power
        return ((scaled.abs() + 0.5).floor() * scaled.sign()).float(), power.float()


def _to_pixels(sums: Tensor, scale: Tensor) -> Tensor:
    """Sums of pixels with weights of this scale as whole numbers from 0 to 255, a half rounded up."""
    return ((sums + scale / 2) / scale).floor().clamp(0, 255)
