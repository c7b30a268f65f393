"""Images of any size, from files or from memory, in the form that a run was trained on."""

import os
from pathlib import Path
from random import Random

import numpy as np

from regulo.core.resize import Resize, WholeBox
from regulo.core.types import DatasetInfo
from regulo.data.base import DatasetConfig
from regulo.data.components.image_io import read_resized

BATCH = 64
"""images that are predicted together"""


class ImageReader:
    """Reads and resizes images as the evaluation of a run does."""

    def __init__(self, data: DatasetConfig, dataset_info: DatasetInfo) -> None:
        """data: the data set of the run."""
        self._resize = data.resize() or Resize(dataset_info.height, dataset_info.width, WholeBox())
        self._dataset_info = dataset_info

    def __call__(self, image: str | Path | np.ndarray) -> np.ndarray:
        """The pixels (C, H, W) uint8 of an image file, or of an image (H, W, C) or (H, W) uint8 of any size.

        Raises ValueError for an array of another form; a decoder may raise anything on a damaged file.
        """
        info = self._dataset_info
        if not isinstance(image, np.ndarray):
            return read_resized(os.fsencode(image), info.channels, info.pixel_range, self._resize, Random()).transpose(2, 0, 1)
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size != image.shape[0] * image.shape[1] * info.channels:
            what = f"{image.dtype} of the shape {image.shape}"
            raise ValueError(f"the image is {what}, and the run takes uint8 of the shape (height, width, {info.channels})")
        return self._resize(image.reshape(*image.shape[:2], info.channels), Random()).transpose(2, 0, 1)
