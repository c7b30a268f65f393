"""`regulo tune batch`: the largest batch that fits into the memory of the device, and the one that is fastest."""

import dataclasses
import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from regulo.core.memory import available_memory

if TYPE_CHECKING:
    from regulo.training.build import RunComponents

STEPS = 3
"""timed steps of each batch size, after one that is not timed"""
SMALLEST, LARGEST = 8, 2**14
MARGIN = 1.05
"""of the sizes this close to the fastest, the smallest is recommended"""
RESERVE = 0.8
"""share of the available memory of a computer that a batch may take; without a GPU, too much ends the process"""
SECONDS = 60.0
"""after which no larger batch is tried"""


@dataclass(frozen=True)
class BatchTrial:
    """A batch size, per device, how fast it trains, and the bytes that it needs at the peak."""

    size: int
    images_per_second: float
    """0: it does not fit"""
    memory: int


@dataclass(frozen=True)
class BatchTest:
    """What was tried; the largest size that fits, and the smallest of the fastest ones; 0 if none fits."""

    trials: tuple[BatchTrial, ...]
    largest: int
    fastest: int
    end: str
    """why no larger size was tried"""


def batch_test(components: "RunComponents", seconds: float = SECONDS) -> BatchTest:
    """Double the batch until it no longer fits, the training images are used up, or the time is over."""
    images, device = len(components.data.train_dataset), components.config.trainer.device()
    start, trials, end = time.perf_counter(), list[BatchTrial](), ""
    size = SMALLEST
    while not end:
        if size > min(LARGEST, images):
            end = f"there are {images:,} training images" if images < LARGEST else "it is the largest size that is tried"
        elif trials and time.perf_counter() - start > seconds:
            end = f"{seconds:.0f} seconds are over"
        elif trials and device.type == "cpu" and trials[-1].memory * 2 > RESERVE * (available_memory() or 2**62):
            end = f"{size} images would need more than {RESERVE:.0%} of the free memory"
        else:
            trials.append(_try_size(components, size, device))
            end = "" if trials[-1].images_per_second else f"{size} images do not fit into the memory of the device"
            size *= 2
    fitting = [trial for trial in trials if trial.images_per_second]
    best = max((trial.images_per_second for trial in fitting), default=0.0)
    fastest = next((trial.size for trial in fitting if trial.images_per_second * MARGIN >= best), 0)
    return BatchTest(tuple(trials), max((trial.size for trial in fitting), default=0), fastest, end)


def _try_size(components: "RunComponents", size: int, device: torch.device) -> BatchTrial:
    """Time some steps with a batch size. Whatever does not fit is no error."""
    try:
        return _time_steps(components, size, device)
    except (torch.OutOfMemoryError, MemoryError):
        return BatchTrial(size, 0.0, 0)
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _time_steps(components: "RunComponents", size: int, device: torch.device) -> BatchTrial:
    from regulo.analysis.tuning.short_training import ShortTraining, copy_components
    from regulo.core.types import Batch

    own: Any = copy_components(components)
    config = own.config.data.model_copy(update={"batch_size": size})
    own.data.config = config
    own = dataclasses.replace(own, config=dataclasses.replace(own.config, data=config))
    before = _memory(device)
    training = ShortTraining(own)
    batch = Batch(*(tensor.to(device) for tensor in own.data.example_batch()))
    training.step(batch, 0.0)
    start = time.perf_counter()
    for _ in range(STEPS):
        training.step(batch, 0.0)
    elapsed = time.perf_counter() - start
    return BatchTrial(size, STEPS * len(batch.labels) / elapsed, max(0, _memory(device) - before))


def _memory(device: torch.device) -> int:
    """Bytes at the peak: of the GPU since the last call of this kind, or of this process."""
    from regulo.core.precision import peak_memory

    return peak_memory(device)
