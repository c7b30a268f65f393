"""A model with the normalization of its input."""

import torch
from torch import Tensor, nn

from regulo.core.precision import MEMORY_FORMATS, to_memory_format
from regulo.core.types import DatasetInfo
from regulo.models.components.narrow_convolutions import replace_narrow_convolutions


class Classifier(nn.Module):
    """uint8 images (B, C, H, W) → normalized float images → logits (B, K)."""

    def __init__(self, model: nn.Module, dataset_info: DatasetInfo, memory_format: str) -> None:
        super().__init__()
        replace_narrow_convolutions(model)
        self.model = model.to(memory_format=MEMORY_FORMATS[memory_format])
        self.memory_format = memory_format
        shape = (1, dataset_info.channels, 1, 1)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", 255 * torch.tensor(dataset_info.mean).view(shape), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(dataset_info.std).view(shape), persistent=False)

    def normalize(self, images: Tensor) -> Tensor:
        """(x − mean) / std per channel. It runs on the device, so that workers send uint8: a quarter of the bytes.

        V views of each image, stacked in its channels (B, V·C, H, W), come out one after the other: (V·B, C, H, W).
        """
        channels = self.mean.shape[1]
        if images.shape[1] > channels:  # views stacked in the channels
            images = torch.cat(images.split(channels, dim=1))
        return to_memory_format((images - self.mean) / self.std, self.memory_format)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(self.normalize(images))
