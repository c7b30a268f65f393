"""Crop, flip, resize, rotate and blur the images of a batch on their device, each in its own way, with a few kernels.

Images are (B, C, H, W) uint8. What is drawn lies on the host, as NumPy arrays with one row for each image.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from regulo.core.resize import ASPECTS, TRIES, RandomBox
from regulo.core.rng import ImageDraws


def to_device(values: np.ndarray, like: Tensor) -> Tensor:
    """Values of the host on the device of a tensor; floating-point ones as float32."""
    values = values.astype(np.float32) if values.dtype.kind == "f" else values
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device, non_blocking=True)


def crop_and_flip(images: Tensor, corners: np.ndarray, margin: tuple[int, int], flip: np.ndarray) -> Tensor:
    """Pad with zeros by `margin` (y, x) pixels on each side, cut a window of the old size, and mirror it: one gather.

    `corners` (B, 2) are y, x of the upper left pixel of the window, from 0 to twice the margin; `flip` (B,) is bool.
    """
    if margin == (0, 0) and not np.any(flip):
        return images
    height, width = images.shape[-2:]
    padded = F.pad(images, (margin[1], margin[1], margin[0], margin[0]))
    y, x = (torch.arange(side, device=images.device) for side in (height, width))
    top, left, mirror = to_device(np.column_stack([corners, flip]).astype(np.int64), images)[:, :, None].unbind(1)
    rows, columns = top + y, left + torch.where(mirror.bool(), width - 1 - x, x)  # (B, H), (B, W)
    places = (rows[:, :, None] * padded.shape[-1] + columns[:, None, :]).flatten(1)[:, None, :]
    return padded.flatten(2).gather(2, places.expand(-1, images.shape[1], -1)).view_as(images)


def draw_boxes(draws: ImageDraws, chooser: RandomBox, size: tuple[int, int]) -> np.ndarray:
    """The boxes (B, 4) of `RandomBox`, as top, left, height, width in pixels, for images of one size (H, W)."""
    sides = np.array(size)
    areas = sides.prod() * draws.uniform(chooser.min_area, 1.0, TRIES)
    aspects = np.exp(draws.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1]), TRIES))
    tries = np.stack([np.sqrt(areas / aspects), np.sqrt(areas * aspects)], axis=-1).round()  # (B, TRIES, 2): height, width
    fits = np.all((tries > 0) & (tries <= sides), axis=2)
    chosen = tries[np.arange(len(tries)), fits.argmax(1)]
    corners = np.floor(draws.random(2) * (sides - chosen + 1))
    largest = np.minimum(sides, (sides[::-1] * ASPECTS[1]).round())
    fallback = np.concatenate([(sides - largest) // 2, largest])
    return np.where(np.any(fits, axis=1, keepdims=True), np.concatenate([corners, chosen], axis=1), fallback).astype(int)


def resize_boxes(images: Tensor, boxes: np.ndarray, flip: np.ndarray) -> Tensor:
    """The box of each image, resized to the size of the whole image with antialiasing, and mirrored: two matrix products.

    `boxes` (B, 4) are top, left, height, width in pixels; `flip` (B,) is bool. The filter is the triangle of `core/resize.py`.
    """
    height, width = images.shape[-2:]
    top, left, box_height, box_width = to_device(boxes.astype(float), images).unbind(1)
    vertical = _triangle_weights(top, box_height, height)
    horizontal = _triangle_weights(left, box_width, width)
    horizontal = torch.where(to_device(flip, images)[:, None, None], horizontal.flip(1), horizontal)
    return to_uint8(vertical[:, None] @ images.float() @ horizontal.mT[:, None])


def _triangle_weights(start: Tensor, length: Tensor, size: int) -> Tensor:
    """The share (B, size, size) of each old pixel in each new one, along one side of boxes with these starts and lengths (B,)."""
    pixels = torch.arange(size, device=start.device)
    start, length = start[:, None, None], length[:, None, None]
    scale = length / size
    center = start + scale * (pixels[:, None] + 0.5)
    weights = (1 - (pixels + 0.5 - center).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = weights * ((pixels >= start) & (pixels < start + length))
    return weights / weights.sum(2, keepdim=True)


def rotate_and_flip(images: Tensor, degrees: np.ndarray, flip: np.ndarray) -> Tensor:
    """Rotate each image counterclockwise around its center (bilinear, zeros outside), and mirror it: one grid of samples.

    `degrees` and `flip` are (B,).
    """
    height, width = images.shape[-2:]
    radians, mirror = np.deg2rad(degrees), 1.0 - 2 * flip
    cos, sin, zero = np.cos(radians), np.sin(radians), np.zeros(len(images))
    # from a place in the result to that in the image, both from −1 to 1 along each side
    to_x = np.stack([mirror * cos, -sin * height / width, zero], axis=-1)
    to_y = np.stack([mirror * sin * width / height, cos, zero], axis=-1)
    grid = F.affine_grid(to_device(np.stack([to_x, to_y], axis=1), images), list(images.shape), align_corners=False)
    return to_uint8(F.grid_sample(images.float(), grid, align_corners=False))


BLUR_RADIUS = 3.5
"""of the kernel of a Gaussian blur, in standard deviations, as in Pillow"""


def blur(images: Tensor, sigmas: np.ndarray) -> Tensor:
    """A Gaussian blur with a standard deviation of `sigmas` (B,) pixels, reflected at the border: two matrix products."""
    reach = int(sigmas.max() * BLUR_RADIUS)
    offsets = np.arange(-reach, reach + 1)
    taps = np.exp(-0.5 * (offsets / sigmas[:, None]) ** 2) * (np.abs(offsets) <= (sigmas * BLUR_RADIUS).astype(int)[:, None])
    taps = to_device(taps / taps.sum(1, keepdims=True), images)  # (B, T)
    vertical, horizontal = (_convolution(taps, side) for side in images.shape[-2:])
    return to_uint8(vertical[:, None] @ images.float() @ horizontal.mT[:, None])


def _convolution(taps: Tensor, size: int) -> Tensor:
    """The share (B, size, size) of each old pixel in each new one, along one side convolved with taps (B, T)."""
    count = taps.shape[1]
    sources = np.lib.stride_tricks.sliding_window_view(np.pad(np.arange(size), count // 2, mode="reflect"), count)  # (size, T)
    is_source = to_device(sources[:, :, None] == np.arange(size), taps).to(taps.dtype)
    return torch.einsum("bt,itj->bij", taps, is_source)


def change_some(images: Tensor, members: np.ndarray, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Images (B, C, H, W) uint8, of which the `members` (b,), indices, are changed; `change` gets them as float32."""
    if not len(members):
        return images
    places = to_device(members, images)
    return images.index_copy(0, places, to_uint8(change(images.index_select(0, places).float())))


def to_uint8(images: Tensor) -> Tensor:
    """Pixels rounded and clipped to uint8."""
    return images.round().clamp_(0, 255).to(torch.uint8)
