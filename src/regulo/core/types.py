"""The types that all packages share. Shapes use these letters everywhere:

B  images in a batch        H, W  height and width in pixels
C  channels of an image     K     classes
N  tokens of an image       D     width of an embedding
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Batch(NamedTuple):
    """A batch from the loader, not normalized."""

    images: Tensor  # (B, C, H, W) uint8
    labels: Tensor  # (B,) int64
    indices: Tensor  # (B,) int64, the index of each image in its split

    def split(self, parts: int) -> "list[Batch]":
        """At most `parts` batches, none of them empty: part k has every `parts`-th image from image k on."""
        return [Batch(*(tensor[k::parts] for tensor in self)) for k in range(min(parts, len(self.labels)))]


class Images(Protocol):
    """Images that can be indexed: an integer gives one (H, W, C) uint8 array, an array of indices gives part of the images.

    An array (n, H, W, C) is an instance.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any) -> Any: ...


@dataclass(frozen=True)
class Split:
    """Images and their labels (n,) int64."""

    images: Images
    labels: np.ndarray

    def select(self, indices: np.ndarray) -> "Split":
        """The part of the split at these indices (m,), in this order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class DatasetInfo:
    """The properties of a data set that the model needs, such as channels and classes. They are not configured by hand."""

    channels: int
    height: int
    width: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel, of images scaled to [0, 1]
    std: tuple[float, ...]
    pixel_range: tuple[int, int] | None = None  # the values that became 0 and 255, if files have more than 8 bits per channel

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)


def soft_targets(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (B,) as one-hot distributions (B, K) float32; every row sums to 1. Mixing and smoothing then work on them."""
    zeros = torch.zeros(len(labels), num_classes, device=labels.device)
    return zeros.scatter_(1, labels[:, None], 1.0)  # F.one_hot waits for the device to check the range


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−Σ_k t_k log softmax(z)_k for each image, in float32. `logits` and `targets` are (B, K); the result is (B,)."""
    return F.cross_entropy(logits.float(), targets, reduction="none")


@dataclass(frozen=True)
class LossInputs:
    """The inputs of a penalty: one forward pass in training."""

    model: nn.Module
    images: Tensor  # (V·B, C, H, W) normalized and mixed: V views of the batch, one after the other
    targets: Tensor  # (B, K) soft
    logits: Tensor  # (V·B, K)
    criterion: Callable[[Tensor, Tensor], Tensor]  # (B, K) logits and targets → (B,) losses

    @property
    def views(self) -> list[Tensor]:
        """The logits (B, K) of each view."""
        return list(self.logits.split(len(self.targets)))
