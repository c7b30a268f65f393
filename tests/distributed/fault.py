"""Runs `regulo`, and lets something happen to one rank in one step: fault.py WHAT RANK STEP NOTE train …

NOTE is a file that gets the time at which it happened.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from regulo import task
from regulo.__main__ import main

what, rank, step, note = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
plain = task.ImageClassification.training_step


def raises() -> None:
    raise ValueError("this rank has had enough")


def runs_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def hangs() -> None:
    time.sleep(1000)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def spoilt(self: Any, batch: Any, batch_idx: int) -> Any:
    if self.global_rank == rank and self.global_step == step:
        note.write_text(f"{os.getpid()} {time.time()}")
        {f.__name__: f for f in (raises, runs_out_of_memory, hangs, is_killed, is_stopped)}[what]()
    return plain(self, batch, batch_idx)


task.ImageClassification.training_step = spoilt  # type: ignore[method-assign]
sys.exit(main(sys.argv[5:]))
