"""Small images for pages."""

import io
from collections.abc import Sequence
from random import Random

import numpy as np

from regulo.core.resize import CenterBox, Resize
from regulo.data.components.image_io import read_resized

SIDE, GAP = 96, 4
"""pixels of a small image, and between two of them"""
ALL_LEVELS = (0, 65_535)
"""the range of images with more than 8 bits per channel: small images need no better one"""


def make_thumbnail(image: bytes | np.ndarray) -> np.ndarray:
    """The middle of an image, of a file (a path) or of pixels (H, W, C) uint8, as (SIDE, SIDE, 3) uint8.

    A decoder may raise anything on a damaged file.
    """
    resize = Resize(SIDE, SIDE, CenterBox())
    if isinstance(image, bytes):
        return read_resized(image, 3, ALL_LEVELS, resize, Random())
    return np.broadcast_to(resize(image, Random()), (SIDE, SIDE, 3))


def join_thumbnails(images: Sequence[np.ndarray]) -> bytes:
    """Small images side by side, as PNG."""
    from PIL import Image

    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    parts = [part for image in images for part in (image, gap)][:-1]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(parts, axis=1)).save(file, "PNG")
    return file.getvalue()
