"""Images from files, and the one door to albumentations, so that the right package comes in, quietly and strictly."""

import importlib.metadata
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from regulo.core.errors import InputError, Problem

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def import_albumentations() -> ModuleType:
    """Import albumentations 2.0.8 (MIT). Raises InputError if the AGPL package that shares its import name is installed."""
    try:
        importlib.metadata.distribution("albumentationsx")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        what = "albumentationsx is installed; it is AGPL and takes the import name of albumentations"
        raise InputError(Problem("environment", what, "pip uninstall albumentationsx && make setup"))
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it calls home otherwise
    import albumentations

    return albumentations


@contextmanager
def strict_arguments() -> Iterator[None]:
    """Within: a misspelt argument of a transform, for which albumentations only warns, is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        yield


def open_image(raw: bytes) -> Any:
    """The file at this path as a PIL image, its header read."""
    from PIL import Image

    if not stat.S_ISREG(os.stat(raw).st_mode):  # a pipe would be waited for
        raise ValueError("not a regular file")
    return Image.open(os.fsdecode(raw))


def read_image(raw: bytes, channels: int) -> np.ndarray:
    """The image at this path as a viewer shows it: upright, transparency on white, 16 bits scaled to 8.

    Returns (H, W, channels) uint8. Raises ValueError for floating-point images, which have no agreed range.
    """
    from PIL import Image, ImageOps

    with open_image(raw) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode == "F":
            raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
        if image.mode.startswith("I"):  # 16 bits, which PIL would clip
            wide = np.asarray(image, np.float64)
            image = Image.fromarray((wide / 257 + 0.5).clip(0, 255).astype(np.uint8))
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            colours = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
        array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return array[..., None] if channels == 1 else array
