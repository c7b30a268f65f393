"""Reads image files, and imports albumentations: the right package, without network access, with strict arguments."""

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
        what = "albumentationsx is installed; it is AGPL and has the same import name as albumentations"
        raise InputError(Problem("environment", what, "pip uninstall albumentationsx && make setup"))
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise it looks for a newer version on the network
    import albumentations

    return albumentations


@contextmanager
def strict_arguments() -> Iterator[None]:
    """Context in which an unknown argument of a transform is an error. albumentations itself only warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        yield


def open_image(raw: bytes) -> Any:
    """Open the file at this path as a PIL image; only its header is read. Raises ValueError if it is not a regular file."""
    from PIL import Image

    if not stat.S_ISREG(os.stat(raw).st_mode):  # reading from a pipe would wait forever
        raise ValueError("not a regular file")
    return Image.open(os.fsdecode(raw))


def read_image(raw: bytes, channels: int) -> np.ndarray:
    """The image at this path as a viewer shows it: upright, transparency on white, 16 bits scaled to 8.

    Returns (H, W, channels) uint8. Raises ValueError for floating-point images, which have no agreed range.
    """
    from PIL import Image, ImageOps

    with open_image(raw) as file:
        image = ImageOps.exif_transpose(file)
        if image.mode == "F":
            raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
        if image.mode.startswith("I"):  # 16 bits: PIL would clip them
            pixels = np.asarray(image, np.float64)
            image = Image.fromarray((pixels / 257 + 0.5).clip(0, 255).astype(np.uint8))
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return array[..., None] if channels == 1 else array
