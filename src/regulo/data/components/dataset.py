"""The Dataset of one split: the sampler's keys in, one uint8 batch out."""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from regulo.core.rng import sample_seed
from regulo.core.types import Batch, Split
from regulo.data.components.image_io import import_albumentations, strict_arguments
from regulo.data.components.sampler import SampleKey

Transforms = Sequence[Any] | Callable[[int], Sequence[Any]]
BatchT = TypeVar("BatchT", bound=tuple[Any, ...])


class BatchedImages(Dataset[Batch]):
    """Reads, transforms and stacks whole batches. Random transforms depend on (seed, epoch, index, copy) only.

    `transforms` is a list for all epochs, or a function from the epoch to the list.
    """

    def __init__(self, split: Split, transforms: Transforms, seed: int) -> None:
        self.split, self.transforms, self.seed = split, transforms, seed
        self._set_epoch(0)

    def _set_epoch(self, epoch: int) -> None:
        self.epoch, self.pipeline = epoch, None
        transforms = self.transforms(epoch) if callable(self.transforms) else self.transforms
        if transforms:
            with strict_arguments():
                self.pipeline = import_albumentations().Compose(list(transforms), seed=self.seed)

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitems__(self, keys: list[SampleKey]) -> Batch:
        indices = np.array([index for _, index, _ in keys])
        if callable(self.transforms) and keys[0][0] != self.epoch:
            self._set_epoch(keys[0][0])
        if self.pipeline is None and isinstance(self.split.images, np.ndarray):
            images = self.split.images[indices]
        else:
            images = np.stack([self._image(*key) for key in keys])
        tensor = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return Batch(tensor, torch.from_numpy(self.split.labels[indices]), torch.from_numpy(indices))

    def _image(self, epoch: int, index: int, copy: int) -> np.ndarray:
        image = self.split.images[index]
        if self.pipeline is None:
            return image
        self.pipeline.set_random_seed(sample_seed(self.seed, epoch, index, copy))
        image = self.pipeline(image=image)["image"]
        return image if image.ndim == 3 else image[..., None]


def collate(batch: BatchT) -> BatchT:
    """The collate function. `__getitems__` has already stacked the batch.

    A loader process moves the batch to shared memory here. Otherwise its queue does so in a thread whose errors are lost: if
    /dev/shm is full, the run would wait forever.
    """
    if get_worker_info() is not None:
        for part in batch:
            if isinstance(part, Tensor):
                part.share_memory_()
    return batch


def worker_init(worker: int) -> None:
    """Set up a loader process: one thread, because the processes run in parallel, and its own process group, so that signals to
    the run's group (Ctrl-C) do not reach it.
    """
    import cv2

    os.setpgrp()
    cv2.setNumThreads(0)
