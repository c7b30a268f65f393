"""Rectangles in images, as rows (top, bottom, left, right) in pixels; bottom and right lie outside."""

import numpy as np
import torch
from torch import Tensor


def boxes_around(centres: np.ndarray, share: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) of the images' shape around n centres in [0, 1)², each with a share (n,) of the area, clipped to (H, W)."""
    side = np.array(size)
    middle = (centres * side).astype(int)  # (n, 2): y, x
    half = (side * np.sqrt(share)[:, None] / 2).astype(int)
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half, side)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def boxes_within(places: np.ndarray, sides: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) of the given sides (n, 2) in pixels, wholly inside (H, W), at places in [0, 1)² of those possible."""
    low = (places * (np.array(size) - sides + 1)).astype(int)
    high = low + sides
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Pixels (n,) of each box."""
    return (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])


def box_mask(boxes: np.ndarray, images: Tensor) -> Tensor:
    """Which pixels of images (B, C, H, W) lie in their box of (1, 4) or (B, 4): (B, 1, H, W) or (1, 1, H, W) bool."""
    top, bottom, left, right = torch.from_numpy(np.ascontiguousarray(boxes.T)).to(images.device, non_blocking=True)[
        :, :, None, None, None
    ]
    y = torch.arange(images.shape[-2], device=images.device)[:, None]
    x = torch.arange(images.shape[-1], device=images.device)
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


def paste_box(images: Tensor, patches: Tensor, box: np.ndarray) -> Tensor:
    """Images (B, C, H, W) with patches (B, C, h, w) in the place of one box (4,) of that size."""
    top, bottom, left, right = box.tolist()
    images = images.clone()
    images[..., top:bottom, left:right] = patches
    return images


def paste_boxes(images: Tensor, others: Tensor, boxes: np.ndarray) -> Tensor:
    """Images (B, C, H, W) with boxes (1, 4) or (B, 4) of the others in their place."""
    if len(boxes) > 1:
        return others.where(box_mask(boxes, images), images)
    top, bottom, left, right = boxes[0].tolist()
    return paste_box(images, others[..., top:bottom, left:right], boxes[0])
