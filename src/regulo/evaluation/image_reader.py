"""Images of any size, from files or from memory, in the form that a run was trained on."""

import os
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from regulo.core.resize import Resize, WholeBox
from regulo.core.types import DatasetInfo
from regulo.data.base import DatasetConfig
from regulo.data.components.image_io import convert_image, read_resized

if TYPE_CHECKING:
    from PIL.Image import Image

AnyImage: TypeAlias = "str | Path | np.ndarray | Image"
"""the path of a file, an array (H, W, C) or (H, W) uint8, or a PIL image"""


class ImageReader:
    """Reads and resizes images as the evaluation of a run does."""

    def __init__(self, data: DatasetConfig, dataset_info: DatasetInfo) -> None:
        """data: the data set of the run."""
        self._resize = resize_rule(data, dataset_info)
        self.dataset_info = dataset_info

    def __call__(self, image: AnyImage) -> np.ndarray:
        """The pixels (C, H, W) uint8 of an image of any size.

        Raises ValueError for an array of another form, and for a PIL image of more than 8 bits; a decoder may raise anything on a
        damaged file.
        """
        info = self.dataset_info
        if isinstance(image, str | Path):
            pixels = read_resized(os.fsencode(image), info.channels, info.pixel_range, self._resize, Random())
        elif isinstance(image, np.ndarray):
            pixels = self._resize(_check_array(image, info.channels), Random())
        elif image.mode.startswith(("I", "F")):
            raise ValueError(f"the image has the mode {image.mode}, more than 8 bits: give the path of its file")
        else:
            pixels = self._resize(convert_image(image, info.channels), Random())
        return pixels.transpose(2, 0, 1)


def resize_rule(data: DatasetConfig, dataset_info: DatasetInfo) -> Resize:
    """How any image gets the size of the run: as in its evaluation; images of a data set without a rule are stretched."""
    return data.resize() or Resize(dataset_info.height, dataset_info.width, WholeBox())


def _check_array(image: np.ndarray, channels: int) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size != image.shape[0] * image.shape[1] * channels:
        what = f"{image.dtype} of the shape {image.shape}"
        raise ValueError(f"the image is {what}, and the run takes uint8 of the shape (height, width, {channels})")
    return image.reshape(*image.shape[:2], channels)
