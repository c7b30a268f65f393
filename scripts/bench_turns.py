"""Training loops in turns of a few steps: each is a process of its own, and all but one of them wait.

The speed of a shared machine changes from one minute to the next, and turns of seconds see nearly the same machine.
"""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple

import torch
from rich.progress import track

from regulo.config.compose import load_config
from regulo.config.schema import Config
from regulo.core.memory import keep_freed_memory
from regulo.core.warnings import ignore_harmless_warnings

STEPS = 20
"""of a turn: as many as there are from one log point to the next"""
WARMUP = 3
"""turns of each loop that do not count"""


class Turn(NamedTuple):
    """How long the steps of a turn took."""

    seconds: float
    cpu_seconds: float
    """of the process with all of its threads"""


class Clock:
    """Stops a loop after each turn, until it may go on. Between two epochs it does not run: validation does not count."""

    def __init__(self, connection: Connection, steps: int) -> None:
        self.connection, self.steps = connection, steps
        self.count, self.may_run, self.start = 0, False, (0.0, 0.0)

    def start_epoch(self) -> None:
        """Drop the last steps of an epoch that are too few for a turn."""
        self.count = 0

    def step(self) -> None:
        """Call it when the batch of a step is at hand, before the step."""
        if self.count == self.steps:
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            seconds, cpu_seconds = self.start
            self.connection.send(Turn(time.perf_counter() - seconds, time.process_time() - cpu_seconds))
            self.count, self.may_run = 0, False
        if not self.may_run:
            self.connection.recv()
            self.may_run = True
        if self.count == 0:
            self.start = time.perf_counter(), time.process_time()
        self.count += 1


Loop = Callable[[Config, Clock], None]
"""trains `max_epochs` epochs, and calls the clock"""


def run_loop(loop: Loop, overrides: list[str], folder: str, connection: Connection, steps: int) -> None:
    """Train in this process."""
    os.setpgrp()  # with the loader processes, so that all of them can be ended at once
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    ignore_harmless_warnings()
    keep_freed_memory()  # as every command does
    loop(load_config(overrides), Clock(connection, steps))


def measure_in_turns(loops: Mapping[str, Loop], overrides: list[str], turns: int, steps: int = STEPS) -> dict[str, list[Turn]]:
    """The turns of each loop. The order of the loops changes from turn to turn."""
    context = multiprocessing.get_context("spawn")
    results: dict[str, list[Turn]] = {name: [] for name in loops}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ends, processes = {}, []
        for name, loop in loops.items():
            ends[name], end = context.Pipe()
            processes.append(context.Process(target=run_loop, args=(loop, overrides, folder, end, steps)))
            processes[-1].start()
            end.close()
        try:
            names = list(loops)
            for turn in track(range(WARMUP + turns), "turns", transient=True):
                for name in names:
                    ends[name].send(None)
                    result = ends[name].recv()  # EOFError if the process has ended
                    if turn >= WARMUP:
                        results[name].append(result)
                names = [*names[1:], names[0]]
        finally:
            for process in processes:
                assert process.pid  # it was started
                with suppress(ProcessLookupError):  # it has no group yet
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                process.join()
    return results
