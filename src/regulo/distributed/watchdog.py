"""A process that hangs ends itself, and leaves behind where it was.

A timer in C (faulthandler) ends it, which works although Python is stuck in a lock, a system call or a kernel.
"""

import faulthandler
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

FIRST_STEP = 10
"""the first step may take so many times longer: kernels are compiled, and loader workers start"""
RANK_ZERO_DELAY = 2.0
"""seconds by which the first process waits longer, so that it can report which other one has ended"""
COLLECTIVE_DELAY = 15.0
"""seconds by which torch's own timeout of a collective operation is longer: the stack comes first"""


class WatchdogCallback(Callback):
    """Inside `with`, ends the process, with all stacks in `file`, if it makes no progress for `timeout` seconds."""

    def __init__(self, timeout: float, file: Path, rank: int) -> None:
        self.steady_timeout, self.path = timeout, file
        self.timeout = FIRST_STEP * timeout
        self.delay = 0.0 if rank else RANK_ZERO_DELAY
        self.past_first_step = False

    def __enter__(self) -> "WatchdogCallback":
        self.file = self.path.open("w", encoding="utf-8")
        self._arm()
        return self

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()
        self.file.close()
        self.path.unlink(missing_ok=True)

    def progress(self, *_: Any, **__: Any) -> None:
        """Start the timer again: something was done."""
        pause = time.monotonic() - self.armed_at
        if self.past_first_step and 3 * pause > self.timeout:
            self._set_timeout(3 * pause)
        self._arm()

    on_train_epoch_start = on_train_epoch_end = on_validation_start = on_validation_end = progress
    on_train_batch_start = on_validation_batch_end = progress

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        if not self.past_first_step:
            self.past_first_step = True
            self.armed_at = time.monotonic()  # the first step is no measure for the others
            self._set_timeout(self.steady_timeout)
        self.progress()

    def _arm(self) -> None:
        faulthandler.dump_traceback_later(self.timeout + self.delay, exit=True, file=self.file)
        self.armed_at = time.monotonic()

    def _set_timeout(self, seconds: float) -> None:
        """Of this timer, and of torch's collective operations."""
        from torch import distributed

        self.timeout = seconds
        if distributed.is_available() and distributed.is_initialized():
            engine: Any = distributed.distributed_c10d
            set_timeout = getattr(engine, "set_timeout", None) or engine._set_pg_timeout  # before torch 2.15
            set_timeout(timedelta(seconds=seconds + COLLECTIVE_DELAY))
