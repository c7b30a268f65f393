"""Augmentation of images: random crop, horizontal flip, color jitter, rotation, by albumentations or on whole batches.

The draws are new for every image in every epoch. Only the user knows which changes keep the class: digits must not be flipped.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from regulo.core.ranges import Share
from regulo.core.resize import CenterBox, RandomBox, Resize
from regulo.core.rng import ImageDraws
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.data.components.image_io import import_albumentations, strict_arguments
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.batch_color import jitter_colors
from regulo.regularizers.components.batch_geometry import crop_and_flip, draw_boxes, resize_boxes, rotate_and_flip


class Augment(Regularizer):
    """Crop, flip, jitter and rotate training images; each part can be switched off by 0 or null."""

    reference: ClassVar[str] = "albumentations 2.0.8"
    tags: ClassVar[frozenset[str]] = frozenset({"augments"})
    # only the user knows whether a flip or a rotation keeps the class
    search_space: ClassVar[SearchSpace] = SearchSpace(0.9, {"padding": Between(0.02, 0.15), "min_area": Between(0.05, 0.5)})

    crop: Literal["auto", "pad", "resized"] | None = "auto"
    """pad: pad the sides and crop back; resized: crop a random area and resize it; auto: `resized` for files of any size
    (photographs), `pad` for images that already have one size"""
    padding: Share = 0.08
    """for `pad`: the margin on each side, as a share of the side of the image; 4 pixels of 32 are .125"""
    min_area: Annotated[float, Field(gt=0, le=1)] = 0.08
    """for `resized`: the smallest share of the image's area that a crop may keep"""
    flip: Share = 0.5
    """probability of a horizontal flip"""
    jitter: Share = 0.0
    """color jitter: brightness, contrast and saturation change by a factor within 1 ± this value; hue by a quarter of it"""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """rotation by an angle of at most ± this many degrees"""

    def with_strength(self, strength: float) -> "Augment | None":
        """The margins, angles and factors are multiplied; a flip is strongest when every second image is flipped (.5)."""
        if strength == 0:
            return None
        update = {
            "padding": min(self.padding * strength, 1.0),
            "min_area": max(1 - strength * (1 - self.min_area), 0.01),
            "flip": min(self.flip * strength, max(self.flip, 0.5)),
            "jitter": min(self.jitter * strength, 1.0),
            "rotate": min(self.rotate * strength, 180.0),
        }
        return self.model_copy(update=update)

    def transform(self, pipeline: list[Any], dataset_info: DatasetInfo) -> list[Any]:
        A = import_albumentations()
        height, width = dataset_info.height, dataset_info.width
        with strict_arguments():
            crop = self.crop if self.crop != "auto" else "resized" if pipeline else "pad"
            if crop == "resized":  # it starts from the whole image and resizes by itself
                resize = next((t for t in pipeline if isinstance(t, Resize)), Resize(height, width, CenterBox()))
                pipeline = [dataclasses.replace(resize, choose_box=RandomBox(self.min_area), may_reduce=True)]
            elif crop == "pad":
                margin = (height + 2 * round(height * self.padding), width + 2 * round(width * self.padding))
                pipeline = [*pipeline, A.PadIfNeeded(*margin, border_mode=0), A.RandomCrop(height, width)]
            if self.rotate:
                pipeline = [*pipeline, A.Rotate(limit=(-self.rotate, self.rotate), border_mode=0, p=1.0)]
            if self.flip:
                pipeline = [*pipeline, A.HorizontalFlip(p=self.flip)]
            if self.jitter:
                factor = (1 - self.jitter, 1 + self.jitter)
                hue = (-self.jitter / 4, self.jitter / 4)
                pipeline = [*pipeline, A.ColorJitter(brightness=factor, contrast=factor, saturation=factor, hue=hue, p=1.0)]
        return pipeline

    def transform_batch(self, images: Tensor, draws: ImageDraws) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        flip = draws.random()[:, 0] < self.flip
        flip_last = flip & bool(self.rotate)  # an image is rotated before it is mirrored
        if self.crop == "resized":
            images = resize_boxes(images, draw_boxes(draws, RandomBox(self.min_area), size), flip & ~flip_last)
        else:
            padding = self.padding if self.crop else 0
            margin = (round(size[0] * padding), round(size[1] * padding))
            corners = np.floor(draws.random(2) * (2 * np.array(margin) + 1))
            images = crop_and_flip(images, corners, margin, flip & ~flip_last)
        if self.rotate:
            images = rotate_and_flip(images, draws.uniform(-self.rotate, self.rotate)[:, 0], flip_last)
        if self.jitter:
            hue = self.jitter / 4
            factors = np.concatenate([draws.uniform(1 - self.jitter, 1 + self.jitter, 3), draws.uniform(-hue, hue)], axis=1)
            images = jitter_colors(images, factors, draws.random(4).argsort(1))
        return images
