"""A torchvision transform inside an albumentations pipeline."""

from typing import Any

import numpy as np
import torch

from regulo.data.components.image_io import import_albumentations

A = import_albumentations()


class TorchvisionTransform(A.ImageOnlyTransform):  # type: ignore[name-defined]
    """Applies `transform` to images (H, W, C) uint8.

    torchvision draws from torch's global generator, so each image sets its own seed, and the generator is restored afterwards.
    """

    def __init__(self, transform: Any) -> None:
        super().__init__(p=1.0)
        self.transform = transform

    def apply(self, img: np.ndarray, seed: int, **params: Any) -> np.ndarray:
        """The transformed image (H, W, C) uint8."""
        generator = torch.default_generator  # the CPU generator only: torch.manual_seed would also seed the GPUs
        state = generator.get_state()
        generator.manual_seed(seed)
        try:
            image = self.transform(torch.from_numpy(np.array(img, order="C")).permute(2, 0, 1))
        finally:
            generator.set_state(state)
        return image.permute(1, 2, 0).contiguous().numpy()

    def get_params(self) -> dict[str, int]:
        """Draw a seed from the generator of the pipeline."""
        return {"seed": int(self.random_generator.integers(2**31))}
