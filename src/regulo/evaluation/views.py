"""Test-time augmentation: the views of an image over which predictions are averaged."""

from typing import Literal, TypeAlias, get_args

import torch
from torch.nn import functional as F

from regulo.core.errors import InputError, Problem, nearest

Tta: TypeAlias = Literal["off", "flip", "scale", "all"]
"""the views: the image alone; with its mirror image; with a zoomed one; with both, and the mirror image of the zoomed one"""
TTAS: tuple[str, ...] = get_args(Tta)
ZOOM = 0.875
"""share of the height and width that the zoomed view shows"""


def make_views(images: torch.Tensor, tta: Tta) -> list[torch.Tensor]:
    """The views of images (B, C, H, W) uint8, each (B, C, H, W) uint8; the images themselves come first. Raises InputError."""
    if tta not in TTAS:
        raise InputError(Problem("tta", f"there are no views {tta!r}", nearest(str(tta), TTAS)))
    views = [images]
    if tta in ("scale", "all"):
        views.append(zoom(images))
    if tta in ("flip", "all"):
        views += [view.flip(3) for view in views]
    return views


def zoom(images: torch.Tensor) -> torch.Tensor:
    """The center of images (B, C, H, W) uint8, enlarged to (B, C, H, W) uint8 by bilinear interpolation."""
    height, width = images.shape[2:]
    top, left = round(height * (1 - ZOOM) / 2), round(width * (1 - ZOOM) / 2)
    center = images[:, :, top : height - top, left : width - left].float()
    return F.interpolate(center, (height, width), mode="bilinear", align_corners=False).round().to(torch.uint8)
