"""Memory that a process does not use any more goes back to the system."""

import os
import re
import subprocess
import sys
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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory a process has")
@pytest.mark.parametrize(("variables", "is_kept"), [({}, True), ({"MALLOC_ARENA_MAX": "8"}, False)])
def test_a_command_uses_freed_memory_again(variables: dict[str, str], is_kept: bool) -> None:
    """A large block that was freed costs no new pages; a variable of the C library in the environment stays the last word."""
    code = """
import resource, numpy as np
from regulo.core.memory import keep_freed_memory
keep_freed_memory()
np.ones(100 * 2**20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(100 * 2**20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | variables
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (int(process.stdout) < 100) == is_kept
