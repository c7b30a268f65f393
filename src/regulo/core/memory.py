"""How much memory is free, and giving back what is not used."""

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2  # of malloc.h
GROUP = Path("/sys/fs/cgroup")
"""the group of processes to which a container or a batch system gives a limit"""


def available_memory() -> int | None:
    """Bytes that new data may take, of the machine or of this container, whichever has less. None: the system does not say."""
    limits = [limit for limit in (_machine_memory(), _group_memory()) if limit is not None]
    return min(limits, default=None)


def free_device_memory(device: "torch.device") -> int | None:
    """Bytes that new data may take on a device of torch. None: the system does not say."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return available_memory()


def keep_freed_memory() -> None:
    """Use the memory of freed objects again, if the C library can, and do not give it back to the system each time.

    glibc returns each block above 32 MB at once, and the system clears the next one page by page: of a training step on photos,
    on a CPU, that is up to 40% of the time. The environment stays the last word: with a variable MALLOC_… nothing changes.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(OSError, AttributeError, TypeError):  # only glibc has the function
        set_option = ctypes.CDLL(None).mallopt
        set_option(MMAP_MAX, 0)
        set_option(TRIM_THRESHOLD, 2**31 - 1)
        set_option(TOP_PAD, 64 * 2**20)


def release_unused_memory() -> None:
    """Give the memory of freed objects back to the system, if the C library can: a process may keep gigabytes of it."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # only glibc has the function
        ctypes.CDLL(None).malloc_trim(0)


def _machine_memory() -> int | None:
    return _read_number(Path("/proc/meminfo"), "MemAvailable:", 1024)


def _group_memory() -> int | None:
    """What the limit leaves; files that the system keeps in memory can be dropped, and count as free."""
    limit, used = (_read_number(GROUP / name) for name in ("memory.max", "memory.current"))
    if limit is None or used is None:
        return None
    return max(0, limit - used + (_read_number(GROUP / "memory.stat", "inactive_file") or 0))


def _read_number(file: Path, name: str = "", unit: int = 1) -> int | None:
    """The number behind a name, or at the start of a file; None if there is none (a limit may be `max`)."""
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return None
    words = next((words[1:] for words in lines if words and words[0] == name), []) if name else [*lines[:1], []][0]
    return int(words[0]) * unit if words and words[0].isdigit() else None
