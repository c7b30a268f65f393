"""RandAugment (Cubuk et al., 2020, arXiv:1909.13719): `ops` operations drawn uniformly, all at one magnitude.

torchvision's implementation does the work. It draws from torch's global generator, so each image gets its own seed and the
generator is put back afterwards.
"""

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from regulo.batch import Facts
from regulo.imaging import albumentations
from regulo.regularizers.base import Regularizer


class RandAugment(Regularizer):
    """A few random operations (shear, translate, rotate, colour, posterize, …) on each training image."""

    source: ClassVar[str] = "arXiv:1909.13719; torchvision v2.RandAugment"
    order: ClassVar[int] = 10

    ops: Annotated[int, Field(ge=1, le=14)] = 2
    """operations per image"""
    magnitude: Annotated[int, Field(ge=0, le=30)] = 7
    """strength of every operation, 0 to 30: 7 for ResNet-50, 9 for ViT"""

    def transform(self, pipeline: list[Any], facts: Facts) -> list[Any]:
        import torch
        from torchvision.transforms import v2

        A: Any = albumentations()
        augment = v2.RandAugment(self.ops, self.magnitude)

        class TorchvisionRandAugment(A.ImageOnlyTransform):
            def apply(self, img: np.ndarray, seed: int, **params: Any) -> np.ndarray:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    image = augment(torch.from_numpy(np.ascontiguousarray(img)).permute(2, 0, 1))
                return image.permute(1, 2, 0).contiguous().numpy()

            def get_params(self) -> dict[str, int]:
                return {"seed": int(self.random_generator.integers(2**31))}

        return [*pipeline, TorchvisionRandAugment(p=1.0)]
