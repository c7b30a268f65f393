"""Images of any size, from files or from memory, in the form that a run was trained on."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regulo.core.types import DatasetInfo
from regulo.data.base import DatasetConfig
from regulo.data.components.image_io import convert_image, import_albumentations, read_image

if TYPE_CHECKING:
    from PIL.Image import Image

AnyImage: TypeAlias = "str | Path | np.ndarray | Image"
"""the path of a file, an array (H, W, C) or (H, W) uint8, or a PIL image"""


class ImageReader:
    """Reads and resizes images as the evaluation of a run does."""

    def __init__(self, data: DatasetConfig, dataset_info: DatasetInfo) -> None:
        """data: the data set of the run. Raises InputError if the wrong package of albumentations is installed."""
        self._resize = import_albumentations().Compose(resize_transforms(data, dataset_info))
        self.dataset_info = dataset_info

    def __call__(self, image: AnyImage) -> np.ndarray:
        """The pixels (C, H, W) uint8 of an image of any size.

        Raises ValueError for an array of another form, and for a PIL image of more than 8 bits; a decoder may raise anything on a
        damaged file.
        """
        info = self.dataset_info
        if isinstance(image, str | Path):
            pixels = read_image(os.fsencode(image), info.channels, info.pixel_range)
        elif isinstance(image, np.ndarray):
            pixels = _check_array(image, info.channels)
        elif image.mode.startswith(("I", "F")):
            raise ValueError(f"the image has the mode {image.mode}, more than 8 bits: give the path of its file")
        else:
            pixels = convert_image(image, info.channels)
        return self._resize(image=pixels)["image"].reshape(info.height, info.width, info.channels).transpose(2, 0, 1)


def resize_transforms(data: DatasetConfig, dataset_info: DatasetInfo) -> list[Any]:
    """The albumentations transforms that give any image the size of the run; never empty, unlike those of the data set."""
    A = import_albumentations()
    return data.resize_transforms() or [A.Resize(dataset_info.height, dataset_info.width)]


def _check_array(image: np.ndarray, channels: int) -> np.ndarray:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size != image.shape[0] * image.shape[1] * channels:
        what = f"{image.dtype} of the shape {image.shape}"
        raise ValueError(f"the image is {what}, and the run takes uint8 of the shape (height, width, {channels})")
    return image
