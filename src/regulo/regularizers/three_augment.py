"""3-Augment (Touvron et al., 2022, DeiT III, arXiv:2204.07118, section 3): grayscale, solarization or blur, one per image.

Crop, flip and color jitter, which the paper uses with it, are those of `augment`.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from regulo.core.ranges import Share
from regulo.core.rng import ImageDraws
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.data.components.image_io import import_albumentations, strict_arguments
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.batch_color import to_gray
from regulo.regularizers.components.batch_geometry import blur, change_some

SIGMAS = (0.1, 2.0)
"""lowest and highest standard deviation of the blur, in pixels"""


class ThreeAugment(Regularizer):
    """Make an image gray, invert its bright pixels, or blur it, with equal probability."""

    reference: ClassVar[str] = "arXiv:2204.07118; albumentations 2.0.8"
    tags: ClassVar[frozenset[str]] = frozenset({"augments"})
    order: ClassVar[int] = 10
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.15, {"p": Between(0.3, 1.0)})

    p: Rampable[Share] = 1.0
    """probability that an image is changed; 1 in the paper"""

    def transform(self, pipeline: list[Any], dataset_info: DatasetInfo) -> list[Any]:
        A = import_albumentations()
        with strict_arguments():
            gray = A.NoOp(p=1.0)  # gray images stay as they are
            if dataset_info.channels > 1:
                method = "weighted_average" if dataset_info.channels == 3 else "average"
                gray = A.ToGray(num_output_channels=dataset_info.channels, method=method, p=1.0)
            solarize = A.Solarize(threshold_range=(0.5, 0.5), p=1.0)
            gaussian_blur = A.GaussianBlur(sigma_limit=SIGMAS, p=1.0)
            return [*pipeline, A.OneOf([gray, solarize, gaussian_blur], p=self.p)]

    def transform_batch(self, images: Tensor, draws: ImageDraws) -> Tensor:
        kinds = np.where(draws.random()[:, 0] < self.p, np.floor(3 * draws.random()[:, 0]), -1)
        sigmas = draws.uniform(*SIGMAS)[:, 0]
        gray, solarized, blurred = (np.flatnonzero(kinds == kind) for kind in range(3))
        images = change_some(images, gray, lambda x: to_gray(x).expand_as(x))
        images = change_some(images, solarized, lambda x: torch.where(x > 127, 255 - x, x))
        return change_some(images, blurred, lambda x: blur(x, sigmas[blurred]).float())
