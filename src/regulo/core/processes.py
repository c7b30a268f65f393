"""How the process of a command begins and ends, and processes that do not outlive the one that has started them."""

import atexit
import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

PR_SET_PDEATHSIG = 1
"""from linux/prctl.h"""
USUAL_THRESHOLD = gc.get_threshold()


def run_process(main: Callable[[], int]) -> NoReturn:
    """Run a command in this process, and end it with the code that it returns.

    Two things that the user would wait for are left out: while libraries are imported, a search for garbage among the hundred
    thousand objects that stay (0.7 s), and in the end, to free them one by one (1.2 s).
    """
    gc.set_threshold(50_000, *USUAL_THRESHOLD[1:])
    code = main()
    # what Python does before it frees objects, as in the processes of multiprocessing: wait for threads, call exit functions
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    exit_now(code)


def exit_now(code: int) -> NoReturn:
    """End this process at once, with what it has printed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            stream.flush()
    os._exit(code)


def collect_garbage_as_usual() -> None:
    """From now on, look for garbage as often as Python does: steps of training may leave large tensors in cycles."""
    gc.set_threshold(*USUAL_THRESHOLD)


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent, with this process id, ends, however that ends. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)
