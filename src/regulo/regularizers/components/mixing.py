"""Mix the images of a batch in pairs: the partner of each image, and the weight λ of the image itself.

    batch     one λ for the batch; the partner of an image is half a batch before it
    pair      one λ for each pair; the partner of image i is image B − 1 − i, and the other way round
    element   one λ for each image; the partner of an image is half a batch before it

The sampler has shuffled the batch, so a fixed partner is a random image. It is not the next image, which can be a copy of the
same image under repeated augmentation (for `pair`, the two images in the middle of a batch still can be).
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Mode = Literal["batch", "pair", "element"]


def partners(values: Tensor, mode: Mode) -> Tensor:
    """The partner of each entry: (B, …) → (B, …)."""
    return values.flip(0) if mode == "pair" else values.roll(max(1, len(values) // 2), 0)


def num_draws(mode: Mode, size: int) -> int:
    """Number of draws for a batch of `size` images."""
    return {"batch": 1, "pair": (size + 1) // 2, "element": size}[mode]


def per_image(draws: np.ndarray, mode: Mode, size: int) -> np.ndarray:
    """Draws (n, …) repeated for each image: (1, …) for `batch`, else (B, …); equal within a pair."""
    if mode != "pair":
        return draws
    return np.concatenate([draws, draws[: size // 2][::-1]])


def broadcast_weights(weights: np.ndarray, like: Tensor) -> Tensor:
    """Weights (1,) or (B,) on the device of `like` (B, …), with the shape (1, 1, …) or (B, 1, …) that multiplies its entries."""
    on_device = torch.from_numpy(np.ascontiguousarray(weights)).to(like.device, like.dtype, non_blocking=True)
    return on_device.view(-1, *[1] * (like.ndim - 1))


def blend(values: Tensor, lam: np.ndarray, mode: Mode = "batch") -> Tensor:
    """λ v_i + (1 − λ) v_j of values (B, …), with the partner j of i and λ (1,) or (B,)."""
    if len(lam) == 1:  # a Python number, which needs no copy to the device
        return values.mul(float(lam[0])).add_(partners(values, mode), alpha=1 - float(lam[0]))
    w = broadcast_weights(lam, values)
    return values * w + partners(values, mode) * (1 - w)
