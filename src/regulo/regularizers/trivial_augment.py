"""TrivialAugment (Müller & Hutter, 2021, arXiv:2103.10158), wide version: one operation is drawn
uniformly, with a uniform magnitude.

It has nothing to tune. Translations reach 32 pixels for images of any size, as in the paper.
"""

from typing import Any, ClassVar

from regulo.core.ranges import Share
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.regularizers.base import Regularizer


class TrivialAugment(Regularizer):
    """One random operation (shear, translate, rotate, color, posterize, …) on each training image."""

    reference: ClassVar[str] = "arXiv:2103.10158; torchvision v2.TrivialAugmentWide"
    tags: ClassVar[frozenset[str]] = frozenset({"augments"})
    order: ClassVar[int] = 10
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.3, {"p": Between(0.3, 1.0)})

    p: Rampable[Share] = 1.0
    """probability that an image is augmented; 1 in the paper"""

    def transform(self, pipeline: list[Any], dataset_info: DatasetInfo) -> list[Any]:
        from torchvision.transforms import v2

        from regulo.data.components.torchvision_adapter import TorchvisionTransform

        return [*pipeline, TorchvisionTransform(v2.RandomApply([v2.TrivialAugmentWide()], self.p))]
