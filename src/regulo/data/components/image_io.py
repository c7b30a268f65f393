"""Reads image files, and imports albumentations: the right package, without network access, with strict arguments."""

import importlib.metadata
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import ModuleType
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator

from regulo.core.errors import InputError, Problem
from regulo.core.ranges import PixelLevel
from regulo.core.resize import Resize
from regulo.data.components import jpeg
from regulo.data.components.image_files import readable_formats

MAX_ASPECT = 16
"""longest side over shortest side up to which the whole image is used: enlarging a longer one would take too much memory"""


def _check_pixel_range(pixel_range: tuple[int, int]) -> tuple[int, int]:
    if pixel_range[0] >= pixel_range[1]:
        raise ValueError("the first value must be smaller than the second")
    return pixel_range


PixelRange = Annotated[
    tuple[PixelLevel, PixelLevel],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),  # YAML has no tuples
    AfterValidator(_check_pixel_range),
]
"""the integers that become 0 and 255, of images with more than 8 bits per channel"""


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


def decoder_versions() -> list[str]:
    """The versions of the libraries that decide which pixels are read from a file, and whether it can be read."""
    import cv2
    import PIL

    return [f"OpenCV {cv2.__version__}", f"Pillow {PIL.__version__}"]


def open_image(raw: bytes) -> Any:
    """Open the file at this path as a PIL image; only its header is read. Raises ValueError if it is not a regular file."""
    from PIL import Image

    if not stat.S_ISREG(os.stat(raw).st_mode):  # reading from a pipe would wait forever
        raise ValueError("not a regular file")
    image = Image.open(os.fsdecode(raw), formats=readable_formats())  # no others: a file may be named .png and be an EPS
    image.filename = ""  # Pillow 13 maps the file of this name into memory, and mixes up the rows of a TIFF that is turned
    return image


def read_stored_size(raw: bytes) -> tuple[int, int]:
    """Height and width of the image at this path as it is stored, of a very long one those of its middle."""
    with open_image(raw) as image:
        width, height = usable_size(*image.size)
        return height, width


def read_image(raw: bytes, channels: int, pixel_range: PixelRange | None = None) -> np.ndarray:
    """The image at this path as a viewer shows it: upright, transparency on white; of several frames the first.

    Of an image that is more than `MAX_ASPECT` times as long as wide, the middle. Integers of more than 8 bits are scaled such
    that `pixel_range` becomes 0 to 255. Returns (H, W, channels) uint8. Raises ValueError for pixels without an agreed range:
    floating-point ones, and those of more than 8 bits if there is no `pixel_range`.
    """
    from PIL import Image

    with open_image(raw) as file:
        if file.mode == "F":
            raise ValueError("floating-point pixels have no agreed range; save it with 8 or 16 bits")
        image = file
        if has_deep_pixels(file):
            if pixel_range is None:
                what = "more than 8 bits per channel, and the training images have 8 bits: there is no agreed range"
                raise ValueError(f"{what}; save it with 8 bits")
            image = Image.fromarray(_scale(read_deep_pixels(file, raw), pixel_range))
            if file.format != "TIFF" and file.getexif().get(ORIENTATION):  # the decoders turn a TIFF upright themselves
                image.getexif()[ORIENTATION] = file.getexif()[ORIENTATION]
        return convert_image(image, channels)


def convert_image(image: Any, channels: int) -> np.ndarray:
    """The pixels (H, W, channels) uint8 of a PIL image of 8 bits: upright, on white, its middle if it is very long."""
    from PIL import Image, ImageOps

    image = _crop_middle(ImageOps.exif_transpose(image))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    array = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return array[..., None] if channels == 1 else array


def read_resized(raw: bytes, channels: int, pixel_range: PixelRange | None, resize: Resize, random: Random) -> np.ndarray:
    """A box of the image at this path, resized: (height, width, channels) uint8. See `read_image`, of which it is a faster form.

    If `resize` allows it, no more pixels of an ordinary JPEG are decoded than the box needs.
    """
    if stat.S_ISREG(os.stat(raw).st_mode):  # anything else is refused by `read_image`
        with open(raw, "rb") as file:
            content = file.read()
        header = jpeg.read_header(content)
        if header and max(header.upright_size) <= MAX_ASPECT * min(header.upright_size):
            box = resize.box(header.upright_size, random)
            if (result := jpeg.decode_box(content, header, box, resize, channels)) is not None:
                return result
    return resize(read_image(raw, channels, pixel_range), random)


ORIENTATION = 0x0112
"""number of the EXIF tag that says how the camera was turned"""


def has_deep_pixels(image: Any) -> bool:
    """Whether a PIL image, of which the header is read, has integers of more than 8 bits. Pillow itself would cut those."""
    if image.mode.startswith("I"):
        return True
    decoder, *_, details = image.tile[0] if image.tile else ("", "")
    raw_mode, *more = details if isinstance(details, tuple) else (details,)
    return (";16" in str(raw_mode) and raw_mode != RGB565) or (decoder in ("ppm", "ppm_plain") and more[0] > 255)


RGB565 = "BGR;16"
"""Pillow's name for 16 bits per pixel, not per channel"""
UNSIGNED = ("I;32", "I;32B", "I;32N")
"""Pillow's names for 32 bits without a sign, which it reads as if there were one"""


def read_deep_pixels(image: Any, raw: bytes) -> np.ndarray:
    """The integers of an image for which `has_deep_pixels` holds: (H, W), or (H, W, C) with C 3 (RGB) or 4 (RGBA)."""
    if image.mode.startswith("I"):
        is_unsigned = bool(image.tile) and image.tile[0][3][0] in UNSIGNED  # the tiles are gone after reading
        pixels = np.asarray(image)
        return pixels.view(np.uint32) if is_unsigned else pixels
    import cv2  # Pillow reads color images with 8 bits only

    array = cv2.imdecode(np.fromfile(os.fsdecode(raw), np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ValueError("the file is damaged")
    return array[..., [2, 1, 0, 3][: array.shape[2]]] if array.ndim == 3 else array


def _scale(pixels: np.ndarray, pixel_range: PixelRange) -> np.ndarray:
    """Integers to uint8 such that the range becomes 0 to 255; those outside are clipped. An alpha channel has its own: 65,535."""
    low, high = pixel_range
    scaled = (pixels.astype(np.float64) - low) * (255 / max(high - low, 1))
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        scaled[..., 3] = pixels[..., 3] / 257
    return (scaled + 0.5).clip(0, 255).astype(np.uint8)


def _crop_middle(image: Any) -> Any:
    """The middle of an image that is too long; any other as it is."""
    width, height = image.size
    new_width, new_height = usable_size(width, height)
    if (new_width, new_height) == (width, height):
        return image
    left, top = (width - new_width) // 2, (height - new_height) // 2
    return image.crop((left, top, left + new_width, top + new_height))


def usable_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the part that is used of an image of this size."""
    longest = MAX_ASPECT * min(width, height)
    return min(width, longest), min(height, longest)
