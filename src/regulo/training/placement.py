"""Where the images of a run stay, and where those of training are augmented: on the device, or in loader processes."""

from dataclasses import dataclass

import numpy as np
import torch

from regulo.core.errors import InputError, Problem
from regulo.core.memory import free_device_memory
from regulo.core.text import format_bytes
from regulo.data.base import DatasetConfig, Splits
from regulo.regularizers.components.plan import Plan

MEMORY_SHARE = 0.2
"""of the free memory of the device, that images may take: the model and what it computes need the rest"""


@dataclass(frozen=True)
class Placement:
    """Where the images are, and the reason, for people."""

    device: torch.device | None
    """on which they stay; None: each batch comes from the loader"""
    reason: str

    @property
    def choice(self) -> str:
        """The value of `data.device` that asks for it."""
        return "device" if self.device else "loader"

    def __str__(self) -> str:
        """The line that a run prints and keeps."""
        where = f"stay on the device ({self.device.type})" if self.device else "come from the loader"
        return f"images {where}: {self.reason}"


def place_images(config: DatasetConfig, splits: Splits, plan: Plan, device: torch.device) -> Placement:
    """Where the images of a run stay. Raises InputError if `data.device=device` asks for what cannot be."""
    obstacle = _find_obstacle(config, splits, plan, device)
    if config.device == "device" and obstacle:
        what = f"the images cannot stay on the device: {obstacle}"
        raise InputError(Problem("data.device", what, "data.device=auto, which takes the loader then"))
    if config.device == "loader" or obstacle:
        return Placement(None, obstacle or "data.device=loader")
    names = [r.name for r in plan.with_hook("transform").regularizers]
    how = f", and are augmented there in whole batches ({', '.join(names)})" if names else ""
    return Placement(device, f"they take {format_bytes(_num_bytes(splits))}{how}")


def _find_obstacle(config: DatasetConfig, splits: Splits, plan: Plan, device: torch.device) -> str:
    """Why images cannot stay on the device; empty if they can."""
    info = splits.dataset_info
    shape = (info.height, info.width, info.channels)
    arrays = [split.images for _, split in splits.items() if isinstance(split.images, np.ndarray)]
    if config.resize() or len(arrays) < len(splits.items()) or any(array.shape[1:] != shape for array in arrays):
        return "they are read from files"
    if names := plan.without_batch_form():
        return f"{', '.join(names)}: no batched form, which changes whole batches"
    size, memory = _num_bytes(splits), free_device_memory(device)
    if memory is not None and size > MEMORY_SHARE * memory:
        limit = f"{MEMORY_SHARE:.0%} of the {format_bytes(memory)} that are free ({device.type})"
        return f"they take {format_bytes(size)}, which is more than {limit}"
    return ""


def _num_bytes(splits: Splits) -> int:
    """Of all images that lie in memory."""
    return sum(split.images.nbytes for _, split in splits.items() if isinstance(split.images, np.ndarray))
