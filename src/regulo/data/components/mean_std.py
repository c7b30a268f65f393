"""Mean and standard deviation of training images that are files: of some of them, and remembered until one of these changes."""

import contextlib
import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ValidationError

from regulo.core.errors import InputError
from regulo.core.files import atomic_write
from regulo.core.paths import user_cache_dir
from regulo.core.resize import Resize
from regulo.core.safe_io import read_text
from regulo.core.types import Split
from regulo.data.base import channel_mean_std
from regulo.data.components.dataset import BatchedImages
from regulo.data.components.file_images import FileImages
from regulo.data.components.file_reports import FileState
from regulo.data.components.image_io import decoder_versions
from regulo.data.components.subsets import fixed_subset

MEASURED = 500
"""images that are read"""
REMEMBERED = 100
"""files from which on the result is remembered; fewer are read in a moment"""
VERSION = 1
"""of what is measured"""


class ChannelStatistics(BaseModel):
    """Of each channel, of images scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def measure_mean_std(train: Split, resize: Resize) -> ChannelStatistics:
    """Of `MEASURED` resized training images, always the same ones."""
    indices = fixed_subset(len(train.labels), MEASURED)
    memory = _memory_file(train.images[indices], resize) if len(indices) >= REMEMBERED else None
    if memory and (statistics := _read(memory)):
        return statistics
    batch = BatchedImages(train, [resize], seed=0).__getitems__([(0, int(i), 0) for i in indices])
    mean, std = channel_mean_std(batch.images.permute(0, 2, 3, 1).numpy())
    statistics = ChannelStatistics(mean=mean, std=std)
    if memory:
        with contextlib.suppress(OSError):  # the next start takes longer, and nothing else is lost
            memory.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(memory, statistics.model_dump_json())
    return statistics


def _memory_file(images: FileImages, resize: Resize) -> Path | None:
    """Where the statistics of these files are, as long as none of them changes; None if there is no place for it."""
    folder = user_cache_dir()
    if folder is None:
        return None
    how = [VERSION, *decoder_versions(), resize, images.channels, images.pixel_range]
    digest = hashlib.blake2b(repr(how).encode(), digest_size=12)
    try:
        for path in images.paths:
            digest.update(os.path.abspath(path) + repr(FileState.of(path)).encode())
    except OSError:  # reading it will say why
        return None
    return folder / "statistics" / f"{digest.hexdigest()}.json"


def _read(file: Path) -> ChannelStatistics | None:
    with contextlib.suppress(OSError, InputError, ValidationError):
        return ChannelStatistics.model_validate_json(read_text(file))
    return None
