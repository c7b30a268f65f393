"""The Dataset of one split whose images stay on the device, where a batch is gathered and changed as a whole."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from regulo.core.types import Batch, Split
from regulo.data.components.dataset import channels_first
from regulo.data.components.sampler import SampleKey

BatchTransform = Callable[[Tensor, np.ndarray], Tensor]
"""from images (B, C, H, W) uint8 on the device and the keys (B, 3) of the sampler to images of the same shape"""


class ResidentImages(Dataset[Batch]):
    """Takes the place of `BatchedImages` for images that lie in memory and have one size. Its batches are on the device."""

    is_ready = True
    """no loader process is needed"""

    def __init__(self, split: Split, device: torch.device, transform: BatchTransform | None = None) -> None:
        self.split, self.device, self.transform = split, device, transform

    @functools.cached_property
    def images(self) -> Tensor:
        """(n, C, H, W) uint8, copied to the device at the first use."""
        return torch.tensor(channels_first(np.asarray(self.split.images)), device=self.device)

    @functools.cached_property
    def labels(self) -> Tensor:
        """(n,) int64."""
        return torch.tensor(self.split.labels, device=self.device)

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitems__(self, keys: list[SampleKey]) -> Batch:
        table = np.array(keys)
        indices = torch.from_numpy(table[:, 1].copy()).to(self.device, non_blocking=True)
        images = self.images.index_select(0, indices)
        if self.transform:
            images = self.transform(images, table)
        return Batch(set_strides(images), self.labels.index_select(0, indices), indices)


def set_strides(images: Tensor) -> Tensor:
    """Images (B, C, H, W) with the strides of `channels_first`, so that the same kernels compute a run and its evaluation."""
    batch, channels, height, width = images.shape
    return images.reshape(batch, height, width, 1).permute(0, 3, 1, 2) if channels == 1 else images.contiguous()
