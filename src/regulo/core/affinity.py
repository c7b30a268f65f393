"""The processor cores that this process may use, and how they are shared."""

import os
from collections.abc import Sequence

import torch


def available_cores() -> list[int]:
    """The cores of this process: those it has been bound to, or all of the machine."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def limit_threads(processes: int) -> None:
    """Let this process compute on its part of the cores, where `processes` compute at once."""
    torch.set_num_threads(max(1, len(available_cores()) // processes))


def pin_to_cores(some: Sequence[int]) -> None:
    """Bind this process, and those it starts, to some cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, some)
    torch.set_num_threads(len(some))
