"""Mean and standard deviation of training images that are files: of some of them, and remembered until one of these changes."""

import contextlib
import hashlib
import os

from pydantic import BaseModel, ValidationError

from regulo.core.cache_table import CacheTable
from regulo.core.resize import Resize
from regulo.core.types import Split
from regulo.data.base import channel_mean_std
from regulo.data.components import file_reports
from regulo.data.components.dataset import BatchedImages
from regulo.data.components.file_images import FileImages
from regulo.data.components.file_reports import FileState
from regulo.data.components.image_io import decoder_versions
from regulo.data.components.subsets import fixed_subset

MAX_IMAGES = 500
"""images that are read"""
VERSION = 1
"""of what is measured"""
TABLE = CacheTable("statistics.json")


class ChannelStatistics(BaseModel):
    """Of each channel, of images scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def measure_mean_std(train: Split, resize: Resize) -> ChannelStatistics:
    """Of `MAX_IMAGES` resized training images, always the same ones."""
    indices = fixed_subset(len(train.labels), MAX_IMAGES)
    key = _describe(train.images[indices], resize) if len(indices) >= file_reports.MIN_FILES else None
    if key and (statistics := _recall(key)):
        return statistics
    batch = BatchedImages(train, [resize], seed=0).__getitems__([(0, int(i), 0) for i in indices])
    mean, std = channel_mean_std(batch.images.permute(0, 2, 3, 1).numpy())
    statistics = ChannelStatistics(mean=mean, std=std)
    if key:
        TABLE.write(key, statistics.model_dump())
    return statistics


def _describe(images: FileImages, resize: Resize) -> str | None:
    """A name for the statistics of these files, as long as none of them changes; None if one cannot be found."""
    how = [VERSION, *decoder_versions(), resize, images.channels, images.pixel_range]
    digest = hashlib.blake2b(repr(how).encode(), digest_size=12)
    try:
        for path in images.paths:
            digest.update(os.path.abspath(path) + repr(FileState.of(path)).encode())
    except OSError:  # reading it will say why
        return None
    return digest.hexdigest()


def _recall(key: str) -> ChannelStatistics | None:
    with contextlib.suppress(ValidationError):
        saved = TABLE.read(key)
        return ChannelStatistics.model_validate(saved) if saved else None
    return None
