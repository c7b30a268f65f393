"""What trained weights expect of their input: size, crop and normalization of the images."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from regulo.core.registry import StrictConfig
from regulo.core.resize import Interpolation

ImageSize = Annotated[int, Field(ge=8, le=4096)]
"""H = W in pixels"""
CropShare = Annotated[float, Field(gt=0, le=1)]
"""share of the shorter side that the center crop takes"""

Means = Annotated[list[Annotated[float, Field(ge=-1, le=2)]], Field(min_length=1, max_length=4)]
"""per channel, of images scaled to [0, 1]"""
Stds = Annotated[list[Annotated[float, Field(gt=0, le=10)]], Field(min_length=1, max_length=4)]
"""per channel, of images scaled to [0, 1]"""


class InputSpec(StrictConfig):
    """The input of trained weights. The fields have the names of those of a data set, which they fill; null: not known."""

    image_size: ImageSize | None = None
    crop_share: CropShare | None = None
    interpolation: Interpolation | None = None
    mean: Means | None = None
    std: Stds | None = None


def fit_channels(numbers: Sequence[float], channels: int) -> tuple[float, ...]:
    """One number per channel: gray images get the average of the colors, color images the number of gray. Raises ValueError."""
    if len(numbers) == channels:
        return tuple(numbers)
    if len(numbers) == 1:
        return (numbers[0],) * channels
    if channels == 1:
        return (sum(numbers) / len(numbers),)
    raise ValueError(f"it has {len(numbers)} numbers, and the images have {channels} channels")
