"""Boxes in images: rows (top, bottom, left, right) in pixels; the bottom row and the right column are not included."""

import numpy as np
import torch
from torch import Tensor


def boxes_around(centers: np.ndarray, shares: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) with the aspect ratio of the image, clipped to its size (H, W).

    `centers` (n, 2) are y, x in [0, 1)², `shares` (n,) in [0, 1] of the area.
    """
    sides = np.array(size)
    middle = (centers * sides).astype(int)  # (n, 2): y, x
    half = (sides * np.sqrt(shares)[:, None] / 2).astype(int)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half, sides)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def boxes_within(positions: np.ndarray, sides: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) with sides (n, 2) in pixels, completely inside an image of size (H, W).

    `positions` (n, 2) are y, x in [0, 1)²: 0 is at the top or left border, 1 would be at the bottom or right border.
    """
    low = (positions * (np.array(size) - sides + 1)).astype(int)
    high = low + sides
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Number of pixels (n,) in each box (n, 4)."""
    return (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])


def box_mask(boxes: np.ndarray, images: Tensor) -> Tensor:
    """Whether a pixel of images (B, C, H, W) is in the box (1, 4) or (B, 4) of its image: bool (1, 1, H, W) or (B, 1, H, W)."""
    edges = torch.from_numpy(np.ascontiguousarray(boxes.T)).to(images.device, non_blocking=True)
    top, bottom, left, right = edges[:, :, None, None, None]
    y = torch.arange(images.shape[-2], device=images.device)[:, None]
    x = torch.arange(images.shape[-1], device=images.device)
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


def paste_box(images: Tensor, patches: Tensor, box: np.ndarray) -> Tensor:
    """Images (B, C, H, W) with patches (B, C, h, w) in one box (4,) of that size; a copy."""
    top, bottom, left, right = box.tolist()
    images = images.clone()
    images[..., top:bottom, left:right] = patches
    return images


def paste_boxes(images: Tensor, others: Tensor, boxes: np.ndarray) -> Tensor:
    """Images (B, C, H, W) with the pixels of other images (B, C, H, W) in boxes (1, 4) or (B, 4); a copy."""
    if len(boxes) > 1:
        return others.where(box_mask(boxes, images), images)
    top, bottom, left, right = boxes[0].tolist()
    return paste_box(images, others[..., top:bottom, left:right], boxes[0])
