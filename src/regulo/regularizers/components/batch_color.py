"""Change the colors of the images of a batch on their device, each by its own factor, as albumentations 2.0.8 does.

Images are (b, C, H, W) float32 with whole values from 0 to 255; factors are (b, 1, 1, 1).
"""

import functools

import numpy as np
import torch
from torch import Tensor

from regulo.regularizers.components.batch_geometry import change_some, to_device

LUMA = (0.299, 0.587, 0.114)
"""weights of red, green and blue in gray (ITU-R BT.601)"""
HUES = 180
"""whole steps of the hue's circle, as in OpenCV"""


def to_gray(images: Tensor) -> Tensor:
    """(b, C, H, W) → (b, 1, H, W), in whole numbers; of other than three channels the mean."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True).round_()
    red, green, blue = images.split(1, dim=1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).round_()


def adjust_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply by f; cut to whole numbers."""
    return (images * factors).floor_()


def adjust_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Go from the mean of the gray image (f = 0) through x (f = 1); cut to whole numbers."""
    return torch.lerp(to_gray(images).mean((1, 2, 3), keepdim=True), images, factors).floor_()


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Go from the gray image (f = 0) through x (f = 1)."""
    return torch.lerp(to_gray(images), images, factors)


def shift_hue(images: Tensor, factors: Tensor) -> Tensor:
    """Turn the hue by f, a share of its circle, in whole steps; the highest channel (value) and the saturation stay."""
    red, green, blue = images.split(1, dim=1)
    value, chroma = images.amax(1, keepdim=True), images.amax(1, keepdim=True) - images.amin(1, keepdim=True)
    scale = chroma.clamp(min=1)
    # from 0 to 6: at red, green and blue 0, 2 and 4, and in between by the share of the other one
    hue = torch.where(
        value == red, (green - blue) / scale, torch.where(value == green, 2 + (blue - red) / scale, 4 + (red - green) / scale)
    )
    hue = ((hue % 6 * (HUES / 6)).round_() + HUES * factors).floor_() / (HUES / 6)
    chroma = (255 * chroma / value.clamp(min=1)).round_() * value / 255  # OpenCV keeps the saturation in whole steps, too
    places = [(hue + offset) % 6 for offset in (5, 3, 1)]
    return torch.cat([value - chroma * torch.minimum(place, 4 - place).clamp_(0, 1) for place in places], dim=1).floor_()


ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, shift_hue)
"""in the order of their factors; gray images (C = 1) have only the first two"""


def jitter_colors(images: Tensor, factors: np.ndarray, orders: np.ndarray) -> Tensor:
    """Images (B, C, H, W) uint8 after all `ADJUSTMENTS`, with factors (B, 4), each image in its own order (B, 4)."""
    adjustments = ADJUSTMENTS if images.shape[1] == 3 else ADJUSTMENTS[:2]
    for step in orders.T:
        for number, adjust in enumerate(adjustments):
            members = np.flatnonzero(step == number)
            own = to_device(factors[members, number], images)[:, None, None, None]
            images = change_some(images, members, functools.partial(adjust, factors=own))
    return images
