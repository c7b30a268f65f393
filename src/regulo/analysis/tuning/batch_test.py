"""`regulo tune batch`: the largest batch that fits into the memory of the device, and the one that is fastest.

With DDP, each device gets a batch of the size, and the processes wait for each other's gradients, as in a run.
"""

import dataclasses
import gc
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from regulo.core.collectives import is_true_anywhere, world_size
from regulo.core.memory import available_memory

if TYPE_CHECKING:
    from regulo.training.build import RunComponents

STEPS = 3
"""timed steps of each batch size, after those that show whether it fits"""
SMALLEST, LARGEST = 8, 2**14
MARGIN = 1.05
"""of the sizes this close to the fastest, the smallest is recommended"""
RESERVE = 0.8
"""share of the available memory of a computer that a batch may take; without a GPU, too much ends the process"""
SECONDS = 60.0
"""after which no larger batch is tried"""


@dataclass(frozen=True)
class BatchTrial:
    """A batch size, per device, how fast all devices train with it, and the bytes that a device needs at the peak."""

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
    """Double the batch until it no longer fits, the training images are used up, or the time is over.

    All processes of a process group must call it, and decide the same.
    """
    images, device = len(components.data.train_dataset) // world_size(), components.config.trainer.device()
    start, trials, end = time.perf_counter(), list[BatchTrial](), ""
    size = min(SMALLEST, images)
    while not end:
        if size > min(LARGEST, images):
            what = "training images" if world_size() == 1 else "training images for each device"
            end = f"there are {images:,} {what}" if images < LARGEST else "it is the largest size that is tried"
        elif trials and is_true_anywhere(time.perf_counter() - start > seconds, device):
            end = f"{seconds:.0f} seconds are over"
        elif trials and device.type == "cpu" and is_true_anywhere(_is_too_much(2 * trials[-1].memory), device):
            end = f"{size} images would need more than {RESERVE:.0%} of the free memory"
        else:
            trials.append(_try_size(components, size, device))
            end = "" if trials[-1].images_per_second else f"{size} images do not fit into the memory of the device"
            size *= 2
    fitting = [trial for trial in trials if trial.images_per_second]
    best = max((trial.images_per_second for trial in fitting), default=0.0)
    fastest = next((trial.size for trial in fitting if trial.images_per_second * MARGIN >= best), 0)
    return BatchTest(tuple(trials), max((trial.size for trial in fitting), default=0), fastest, end)


def batch_test_on_all_devices(overrides: Sequence[str], processes: int) -> BatchTest:
    """The test in so many processes of this machine, with a device each. `overrides`: of a run whose precision is fixed."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_run_process, (list(overrides), processes, folder), processes)  # type: ignore[attr-defined]
        result = json.loads((Path(folder) / "test.json").read_text())
        return BatchTest(**result | {"trials": tuple(BatchTrial(**trial) for trial in result["trials"])})


def _run_process(rank: int, overrides: list[str], processes: int, folder: str) -> None:
    from regulo.config import compose
    from regulo.core.affinity import limit_threads
    from regulo.core.warnings import ignore_harmless_warnings
    from regulo.training.build import build_components

    ignore_harmless_warnings()
    config = compose.load_config(overrides).take_input_of_weights()[0]
    if is_cpu := config.trainer.device().type == "cpu":
        limit_threads(processes)
    else:
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(
        "gloo" if is_cpu else "nccl",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=5 * SECONDS),
    )
    try:
        test = batch_test(build_components(config))
        if rank == 0:
            (Path(folder) / "test.json").write_text(json.dumps(dataclasses.asdict(test)))
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


def _is_too_much(memory: int) -> bool:
    """Whether a computer has not these bytes for each process."""
    return memory * world_size() > RESERVE * (available_memory() or 2**62)


def _try_size(components: "RunComponents", size: int, device: torch.device) -> BatchTrial:
    """Time some steps with a batch size. Whatever does not fit is no error."""
    try:
        return _time_steps(components, size, device)
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _time_steps(components: "RunComponents", size: int, device: torch.device) -> BatchTrial:
    """Two steps show whether the batch fits. In them no process waits for another one, which may have too little memory."""
    from regulo.analysis.tuning.short_training import ShortTraining, copy_components
    from regulo.core.types import Batch

    own: Any = copy_components(components)
    config = own.config.data.model_copy(update={"batch_size": size})
    own.data.config = config
    own = dataclasses.replace(own, config=dataclasses.replace(own.config, data=config))
    before = _memory(device)
    fits = True
    try:
        training = ShortTraining(own)
        batch = Batch(*(tensor.to(device) for tensor in own.data.example_batch()))
        for _ in range(2):  # the optimizer takes its memory at the end of the first step
            training.step(batch, 0.0, alone=True)
    except (torch.OutOfMemoryError, MemoryError):
        fits = False
    if is_true_anywhere(not fits, device):
        return BatchTrial(size, 0.0, 0)
    if world_size() > 1:
        training.step(batch, 0.0)  # it makes the buffers of DDP
    start = time.perf_counter()
    for _ in range(STEPS):
        training.step(batch, 0.0)
    elapsed = time.perf_counter() - start
    rate = world_size() * STEPS * len(batch.labels) / elapsed
    return BatchTrial(size, rate, max(0, _memory(device) - before))


def _memory(device: torch.device) -> int:
    """Bytes at the peak: of the GPU since the last call of this kind, or of this process."""
    from regulo.core.precision import peak_memory

    return peak_memory(device)
