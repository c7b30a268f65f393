"""CPU cores: which ones this process may use, and limits on them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch


def available_cores() -> list[int]:
    """The indices of the cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def loader_processes(devices: int = 1) -> int:
    """Loader processes for each of so many devices of this machine: half of the cores that a device gets, at most 8."""
    return min(8, max(1, len(available_cores()) // (2 * devices)))


def reader_threads() -> int:
    """Threads that read and decode files at the same time in this process: as many as there are cores, at most 8."""
    return min(8, len(available_cores()))


def limit_threads(processes: int) -> None:
    """Limit torch to an equal part of the cores, for `processes` processes at the same time."""
    torch.set_num_threads(max(1, len(available_cores()) // processes))


@contextmanager
def leave_cores(processes: int) -> Iterator[None]:
    """Context in which torch leaves a core to each of this many other processes, which would wait for it otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, min(threads, len(available_cores()) - processes)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def pin_to_cores(cores: Sequence[int]) -> None:
    """Let this process, and the processes that it starts, run on these cores only."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    torch.set_num_threads(len(cores))
