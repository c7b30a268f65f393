"""Processes that do not outlive the one that has started them."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""from linux/prctl.h"""


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent, with this process id, ends, however that ends. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)
