"""RandAugment (Cubuk et al., 2020, arXiv:1909.13719): `ops` operations, drawn uniformly, with one
magnitude.
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.regularizers.base import Regularizer


class RandAugment(Regularizer):
    """A few random operations (shear, translate, rotate, color, posterize, …) on each training image."""

    reference: ClassVar[str] = "arXiv:1909.13719; torchvision v2.RandAugment"
    tags: ClassVar[frozenset[str]] = frozenset({"augments"})
    order: ClassVar[int] = 10
    search_space: ClassVar[SearchSpace] = SearchSpace(0.2, {"ops": Between(1, 3), "magnitude": Between(3, 15)})

    ops: Annotated[int, Field(ge=1, le=14)] = 2
    """operations per image"""
    magnitude: Annotated[int, Field(ge=0, le=30)] = 7
    """strength of every operation, on torchvision's scale of 0 to 30 (9 is a rotation by up to 9°). timm's scale ends at 10:
    its m7 for ResNet-50 and m9 for ViT are 21 and 27 here"""

    def with_strength(self, strength: float) -> "RandAugment | None":
        """The magnitude is multiplied; strength 0 is absence, because at magnitude 0 some operations still change the image."""
        return self.model_copy(update={"magnitude": min(round(self.magnitude * strength), 30)}) if strength else None

    def transform(self, pipeline: list[Any], dataset_info: DatasetInfo) -> list[Any]:
        from torchvision.transforms import v2

        from regulo.data.components.torchvision_adapter import TorchvisionTransform

        return [*pipeline, TorchvisionTransform(v2.RandAugment(self.ops, self.magnitude))]
