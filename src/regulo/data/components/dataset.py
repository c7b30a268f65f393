"""The Dataset of one split: the sampler's keys in, one uint8 batch out."""

import os
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from regulo.core.memory import release_unused_memory
from regulo.core.resize import Resize
from regulo.core.rng import sample_seed
from regulo.core.types import Batch, Split
from regulo.data.components.file_images import FileImages
from regulo.data.components.image_io import import_albumentations, strict_arguments
from regulo.data.components.sampler import SampleKey

Transforms = Sequence[Any] | Callable[[int], Sequence[Any]]
BatchT = TypeVar("BatchT", bound=tuple[Any, ...])


def list_resize(resize: Resize | None) -> list[Any]:
    """The transforms of images that are only resized, if at all."""
    return [resize] if resize else []


class BatchedImages(Dataset[Batch]):
    """Reads, transforms and stacks whole batches. Random transforms depend on (seed, epoch, index, copy) only.

    `transforms` is a list for all epochs, or a function from the epoch to the list.
    """

    def __init__(self, split: Split, transforms: Transforms, seed: int) -> None:
        self.split, self.transforms, self.seed = split, transforms, seed
        self._set_epoch(0)

    def _set_epoch(self, epoch: int) -> None:
        transforms = list(self.transforms(epoch) if callable(self.transforms) else self.transforms)
        self.epoch, self.pipeline = epoch, None
        self.resize = transforms.pop(0) if transforms and isinstance(transforms[0], Resize) else None
        if transforms:
            with strict_arguments():
                self.pipeline = import_albumentations().Compose(transforms, seed=self.seed)

    @property
    def is_ready(self) -> bool:
        """Whether the images lie in memory, and nothing has to be done to them."""
        return self.pipeline is None and self.resize is None and isinstance(self.split.images, np.ndarray)

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitems__(self, keys: list[SampleKey]) -> Batch:
        indices = np.array([index for _, index, _ in keys])
        if callable(self.transforms) and keys[0][0] != self.epoch:
            self._set_epoch(keys[0][0])
        if self.is_ready:
            images = channels_first(self.split.images[indices])
        else:
            images = stack_channels_first([self._image(*key) for key in keys])
        tensor = torch.from_numpy(images)
        return Batch(tensor, torch.from_numpy(self.split.labels[indices]), torch.from_numpy(indices))

    def _image(self, epoch: int, index: int, copy: int) -> np.ndarray:
        images, seed = self.split.images, sample_seed(self.seed, epoch, index, copy)
        if self.resize is None:
            image = images[index]
        else:
            random = Random(seed + 1)  # the pipeline seeds a generator of this kind, too, and must not draw the same numbers
            read = images.read if isinstance(images, FileImages) else lambda i, resize, random: resize(images[i], random)
            image = read(index, self.resize, random)
        if self.pipeline is None:
            return image
        # one pair of generators for all transforms: `set_random_seed` gives each the same numbers, and flips follow from crops
        self.pipeline.set_random_state(np.random.default_rng(seed), Random(seed))
        image = self.pipeline(image=image)["image"]
        return image if image.ndim == 3 else image[..., None]


def stack_channels_first(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images (H, W, C) uint8 of one size as an array (B, C, H, W), in the memory layout of `channels_first`."""
    import cv2

    height, width, channels = images[0].shape
    if channels == 1:
        return channels_first(np.stack(images))
    batch = np.empty((len(images), channels, height, width), np.uint8)
    for image, planes in zip(images, batch, strict=True):
        if image.strides == (width * channels, channels, 1):
            cv2.split(image, list(planes))  # into the batch; ten times as fast as to transpose it
        else:  # OpenCV misreads the odd strides that an axis of length 1 may have
            planes[:] = image.transpose(2, 0, 1)
    return batch


def channels_first(images: np.ndarray) -> np.ndarray:
    """Images (B, H, W, C) as (B, C, H, W). The layout decides which kernels compute the run, and so its last digits."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


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
    the run's group (Ctrl-C) do not reach it. A forked one holds what the first process has freed, until it gives it back.
    """
    import cv2

    os.setpgrp()
    release_unused_memory()
    cv2.setNumThreads(0)
