"""Progressive resizing: training begins with small images, which cost less, and ends with whole ones.

    side of a step = (1 − shrink) · side of the images, to the nearest 4 pixels

Early epochs learn coarse features, for which small images are enough. Introduced by fast.ai in DAWNBench (2018); EfficientNetV2
(Tan & Le, 2021, arXiv:2104.00298, section 4.2) lets the strength of the other techniques grow with the size. The evaluation
always has whole images, so the last steps should have them, too (Touvron et al., 2019, arXiv:1906.06423).
"""

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from regulo.core.errors import InputError, Problem, one_line
from regulo.core.schedule import Rampable, peak
from regulo.core.search_space import SearchSpace
from regulo.core.types import DatasetInfo
from regulo.regularizers.base import Regularizer

STEP, SMALLEST = 4, 8
"""pixels: sides are multiples of STEP, so that a compiled model meets few of them, and at least SMALLEST"""


class ProgressiveResizing(Regularizer):
    """Train on smaller images at first. For models that take images of any size."""

    reference: ClassVar[str] = "arXiv:2104.00298"
    order: ClassVar[int] = -10  # before mixing, which then has fewer pixels to mix
    strength_fields: ClassVar[tuple[str, ...]] = ("shrink",)
    # on or off: `shrink` is a ramp
    search_space: ClassVar[SearchSpace] = SearchSpace(0.05)
    incompatible: ClassVar[dict[str, str]] = {
        "aug_mix": "the views of an image must have one size",
        "patch_dropout": "models of patches take images of one size",
    }

    shrink: Rampable[Annotated[float, Field(ge=0, lt=1)]] = 0.4
    """share by which both sides are smaller; a ramp that ends at 0 before the end of the run"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        """Refuse a model that takes images of one size only."""
        size = shrunken(dataset_info.height, peak(self.shrink)), shrunken(dataset_info.width, peak(self.shrink))
        was_training, parameter = model.training, next(model.parameters())
        try:
            with torch.no_grad():
                model.eval()(parameter.new_zeros(1, dataset_info.channels, *size))
        except Exception as error:  # whatever a model raises for images of another size
            reason = f"the model does not take images of {size[0]} × {size[1]} pixels: {one_line(str(error))}"
            raise InputError(Problem("regularizer.progressive_resizing", reason, "choose a convolutional model")) from error
        finally:
            model.train(was_training)

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        height, width = images.shape[2:]
        size = shrunken(height, self.shrink), shrunken(width, self.shrink)
        if size == (height, width):
            return images, targets
        return F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False), targets


def shrunken(side: int, shrink: float) -> int:
    """A side in pixels that is smaller by this share: a multiple of `STEP`, or the side itself."""
    smaller = max(round(side * (1 - shrink) / STEP) * STEP, SMALLEST)
    return smaller if shrink and smaller < side else side
