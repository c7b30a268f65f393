"""The algebra of mixing the images of a batch in pairs: who is mixed with whom, and in which proportion.

    batch   one λ for the batch; the partner of an image lies half a batch before it
    pair    one λ for each pair; the partner of image i is image B − 1 − i, and the other way round
    element one λ for each image; the partner of an image lies half a batch before it

The sampler has shuffled the batch, so that a fixed partner is a random one. It is not the neighbour, which under repeated
augmentation would be a copy of the same image (the two in the middle of a batch of pairs still may be).
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Mode = Literal["batch", "pair", "element"]


def partners(values: Tensor, mode: Mode) -> Tensor:
    """The partner of every entry of the first dimension."""
    return values.flip(0) if mode == "pair" else values.roll(max(1, len(values) // 2), 0)


def num_draws(mode: Mode, size: int) -> int:
    """How many draws a batch of `size` images needs."""
    return {"batch": 1, "pair": (size + 1) // 2, "element": size}[mode]


def per_image(drawn: np.ndarray, mode: Mode, size: int) -> np.ndarray:
    """Draws (n, …) as one for each image: (1, …) for `batch`, else (B, …), equal within a pair."""
    if mode != "pair":
        return drawn
    return np.concatenate([drawn, drawn[: size // 2][::-1]])


def broadcast_weights(drawn: np.ndarray, like: Tensor) -> Tensor:
    """Draws (1,) or (B,) on the device of `like`, shaped to multiply its entries."""
    given = torch.from_numpy(np.ascontiguousarray(drawn)).to(like.device, like.dtype, non_blocking=True)
    return given.view(-1, *[1] * (like.ndim - 1))


def blend(values: Tensor, lam: np.ndarray, mode: Mode = "batch") -> Tensor:
    """λ v_i + (1 − λ) v_j for every entry of the first dimension, with λ (1,) or (B,)."""
    if len(lam) == 1:  # numbers ride along with the kernel
        return values.mul(float(lam[0])).add_(partners(values, mode), alpha=1 - float(lam[0]))
    w = broadcast_weights(lam, values)
    return values * w + partners(values, mode) * (1 - w)
