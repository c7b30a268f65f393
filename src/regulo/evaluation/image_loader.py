"""Batches of images from files or from memory, read by loader processes, in order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from regulo.core.affinity import loader_processes
from regulo.data.components.dataset import collate, worker_init
from regulo.evaluation.image_reader import AnyImage, ImageReader

BATCH = 64
"""images that are predicted together"""


class ImageBatch(NamedTuple):
    """Consecutive images of a list: those that can be read, and why others cannot."""

    images: Tensor  # (n, C, H, W) uint8
    indices: Tensor  # (n,) int64, the place of each image in the list
    errors: list[tuple[int, str]]  # the place and the reason of each image that cannot be read


class ReadableImages(Dataset[ImageBatch]):
    """A list of images for a DataLoader. An image that cannot be read does not end the loader."""

    def __init__(self, images: Sequence[AnyImage], read: ImageReader) -> None:
        self.images, self.read = images, read

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> ImageBatch:
        pixels, readable, errors = [], [], []
        for i in indices:
            try:
                pixels.append(self.read(self.images[i]))
                readable.append(i)
            except Exception as error:  # a decoder may raise anything on a damaged file
                errors.append((i, str(error) or type(error).__name__))
        info = self.read.dataset_info
        images = np.stack(pixels) if pixels else np.zeros((0, info.channels, info.height, info.width), np.uint8)
        return ImageBatch(torch.from_numpy(images), torch.tensor(readable, dtype=torch.int64), errors)


def load_images(
    images: Sequence[AnyImage], read: ImageReader, num_workers: int = 0, batch_size: int = BATCH
) -> DataLoader[ImageBatch]:
    """A loader of `ImageBatch`es, in the order of the list. `num_workers`: loader processes; 0: this process reads."""
    return DataLoader(
        ReadableImages(images, read),
        batch_size,
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=worker_init,
        generator=torch.Generator(),  # its own, so that making a loader takes no number from the global generator
    )


def num_workers(images: int) -> int:
    """Loader processes for this many images: half of the cores, at most 8; none for a few images, which are read sooner here."""
    return 0 if images <= BATCH else loader_processes()
