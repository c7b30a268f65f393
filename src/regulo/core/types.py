"""The vocabulary of the house. Shapes are written with these letters everywhere:

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
    """What leaves the loader: whole batches, unnormalised."""

    images: Tensor  # (B, C, H, W) uint8
    labels: Tensor  # (B,) int64
    indices: Tensor  # (B,) int64, the place of each image in its split


class Images(Protocol):
    """Images that can be read one at a time, as (H, W, C) uint8 arrays, or cut down to those at an array of places.

    An array (n, H, W, C) is one.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any) -> Any: ...


@dataclass(frozen=True)
class Split:
    """Images and their labels (n,) int64."""

    images: Images
    labels: np.ndarray

    def select(self, indices: np.ndarray) -> "Split":
        """The part of the split at these places, in this order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set says of its images. It flows from the data to the model, so nobody types it twice."""

    channels: int
    height: int
    width: int
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel, of images scaled to [0, 1]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)


def soft_targets(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (B,) as distributions (B, K) float32: every row sums to one, and mixing or smoothing is plain algebra."""
    zeros = torch.zeros(len(labels), num_classes, device=labels.device)
    return zeros.scatter_(1, labels[:, None], 1.0)  # F.one_hot would wait for the device to check its range


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """−Σ_k t_k log softmax(z)_k for each image, in float32. `logits` and `targets` are (B, K); the result is (B,)."""
    return F.cross_entropy(logits.float(), targets, reduction="none")


@dataclass(frozen=True)
class LossInputs:
    """One forward pass in training, as penalties see it."""

    model: nn.Module
    images: Tensor  # (V·B, C, H, W) normalised and mixed: V views of the batch, one after the other
    targets: Tensor  # (B, K) soft
    logits: Tensor  # (V·B, K)
    criterion: Callable[[Tensor, Tensor], Tensor]  # (B, K) logits and targets → (B,) losses

    @property
    def views(self) -> list[Tensor]:
        """The logits (B, K) of each view."""
        return list(self.logits.split(len(self.targets)))
