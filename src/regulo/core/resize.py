"""One rule of resizing for training, evaluation and prediction: a box of the image, resized with antialiasing.

The filter is that of Pillow and torchvision (`antialias=True`): a triangle (bilinear) or a cubic, widened by the factor by which
the image shrinks. docs/images.md has the measurement that led to it. Sampling without antialiasing made the crops of training 2.3
times as sharp as the images of evaluation.
"""

import math
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple, Protocol

import numpy as np

Interpolation = Literal["bilinear", "bicubic"]


class Box(NamedTuple):
    """A part of an image, in whole pixels."""

    top: int
    left: int
    height: int
    width: int


class BoxChooser(Protocol):
    """Chooses the part of an image of H × W pixels that becomes `height` × `width` pixels."""

    def __call__(self, image_size: tuple[int, int], size: tuple[int, int], random: Random) -> Box:
        """The box of an image of this (height, width), which becomes `size`."""
        ...


@dataclass(frozen=True)
class CenterBox:
    """The largest box in the middle that has the aspect of the result, times `share`."""

    share: float = 1.0

    def __call__(self, image_size: tuple[int, int], size: tuple[int, int], random: Random) -> Box:
        """See `BoxChooser`."""
        scale = min(image_size[0] / size[0], image_size[1] / size[1]) * self.share
        height, width = (max(1, round(side * scale)) for side in size)
        return Box((image_size[0] - height) // 2, (image_size[1] - width) // 2, height, width)


@dataclass(frozen=True)
class WholeBox:
    """All of the image, whatever its aspect: it is stretched."""

    def __call__(self, image_size: tuple[int, int], size: tuple[int, int], random: Random) -> Box:
        """See `BoxChooser`."""
        return Box(0, 0, *image_size)


TRIES = 10
"""draws of a random box, of which the first one that fits is used"""
ASPECTS = (3 / 4, 4 / 3)
"""lowest and highest width / height of a random box"""


@dataclass(frozen=True)
class RandomBox:
    """A random box, of `min_area` to all of the area, its aspect drawn between 3:4 and 4:3 (Szegedy et al., 2015)."""

    min_area: float = 0.08

    def __call__(self, image_size: tuple[int, int], size: tuple[int, int], random: Random) -> Box:
        """See `BoxChooser`."""
        height, width = image_size
        for _ in range(TRIES):
            area = height * width * random.uniform(self.min_area, 1.0)
            aspect = math.exp(random.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
            box_height, box_width = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
            if 0 < box_height <= height and 0 < box_width <= width:
                top, left = random.randint(0, height - box_height), random.randint(0, width - box_width)
                return Box(top, left, box_height, box_width)
        box_height, box_width = min(height, round(width * ASPECTS[1])), min(width, round(height * ASPECTS[1]))
        return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


@dataclass(frozen=True)
class Resize:
    """The first transform of images of any size: a box of each becomes (height, width)."""

    height: int
    width: int
    choose_box: BoxChooser
    interpolation: Interpolation = "bilinear"
    may_reduce: bool = False
    """whether a JPEG may be decoded at a half, a quarter or an eighth of its size: faster, and almost the same. Not in
    evaluation, whose pixels any other program must be able to repeat"""

    def __call__(self, image: np.ndarray, random: Random) -> np.ndarray:
        """image: (H, W, C) uint8. Returns (height, width, C) uint8."""
        return self.resize(image, self.box(image.shape[:2], random))

    def box(self, image_size: tuple[int, int], random: Random) -> Box:
        """The box of an image of this height and width."""
        return self.choose_box(image_size, (self.height, self.width), random)

    def resize(self, image: np.ndarray, box: Box) -> np.ndarray:
        """A box of an image (H, W, C) uint8 as (height, width, C) uint8."""
        part = image[box.top : box.top + box.height, box.left : box.left + box.width]
        return resize_image(part, self.height, self.width, self.interpolation)

    def __str__(self) -> str:
        """The rule of an evaluation, for people and for the record of a run."""
        share = f", center crop of {self.choose_box.share:.4g}" if isinstance(self.choose_box, CenterBox) else ""
        return f"antialiased {self.interpolation}{share}"


def resize_image(image: np.ndarray, height: int, width: int, interpolation: Interpolation) -> np.ndarray:
    """An image (H, W, C) uint8 as (height, width, C) uint8, with antialiasing."""
    import torch

    if image.shape[:2] == (height, width):
        return image
    writable = np.require(image, requirements="W")  # torch warns of others
    pixels = torch.from_numpy(writable)[None].permute(0, 3, 1, 2)  # the order for which the kernel of color images is fast
    resized = torch.nn.functional.interpolate(pixels, (height, width), mode=interpolation, antialias=True, align_corners=False)
    return resized.permute(0, 2, 3, 1)[0].numpy()
