"""Runs `regulo`, and lets something happen to ranks in some steps, once each: fault.py STEP:WHAT:RANK,… FOLDER train …

FOLDER gets a file for each step in which something happened, with the time of it.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from regulo.__main__ import main
from regulo.training import module

faults = [entry.split(":") for entry in sys.argv[1].split(",")]
folder = Path(sys.argv[2])
plain = module.ClassificationModule.training_step


def raises() -> None:
    raise ValueError("this rank has had enough")


def runs_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def hangs() -> None:
    time.sleep(1000)


def is_slow() -> None:
    time.sleep(1)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
    for step, what, rank in faults:
        note = folder / f"step{step}"
        if self.global_step == int(step) and self.global_rank == int(rank) and not note.exists():
            note.write_text(str(time.time()))
            {f.__name__: f for f in (raises, runs_out_of_memory, hangs, is_slow, is_killed, is_stopped)}[what]()
    return plain(self, batch, batch_idx)


module.ClassificationModule.training_step = training_step  # type: ignore[method-assign]
sys.exit(main(sys.argv[3:]))
