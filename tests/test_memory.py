"""Memory that a process does not use any more goes back to the system."""

import re
from pathlib import Path

import numpy as np
import pytest

from regulo.core.memory import release_unused_memory


def resident_megabytes() -> int:
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024  # type: ignore[index]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process has")
def test_memory_of_freed_arrays_goes_back() -> None:
    large = np.ones(30 * 2**20, np.uint8)
    del large  # from now on the C library keeps blocks of up to this size
    arrays = [np.ones(2**20, np.uint8) for _ in range(300)]
    last = arrays[-1]
    before = resident_megabytes()
    del arrays
    release_unused_memory()
    assert resident_megabytes() < before - 200
    assert last[0] == 1
