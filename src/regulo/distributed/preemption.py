"""A run can be asked to stop: by a signal, or by its clock. It ends its step, saves a checkpoint, and reports how to go on."""

import os
import shutil
import signal
import subprocess
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""by which schedulers and closing terminals ask a run to stop, beside SIGINT"""
TIME_IS_UP = 124
"""exit code of a run that used up `trainer.max_time`, as of timeout(1)"""
EXIT_CODES = frozenset({TIME_IS_UP, *(128 + number for number in (*SIGNALS, signal.SIGINT))})
"""of a process that stopped because it was asked to"""

STARTED_AT = "REGULO_STARTED_AT"
"""environment variable: when our launcher began, in seconds of the monotonic clock"""


class RunStoppedError(SystemExit):
    """The run stopped because it was asked to, and can go on. Exit code 128 + signal, or 124."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(code)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason

    @classmethod
    def by_signal(cls, number: int) -> "RunStoppedError":
        """The end that a signal asks for."""
        return cls(signal.Signals(number).name, 128 + number)


class StopRequest:
    """Whether the run is asked to stop. Inside `with`, a signal ends it at once; while it trains, at the end of a step."""

    def __init__(self, max_seconds: float | None) -> None:
        start_time = float(os.environ.get(STARTED_AT, time.monotonic()))  # a restart does not begin the time anew
        self.deadline = None if max_seconds is None else start_time + max_seconds
        self.signal: int | None = None
        self.training = False
        self.previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self.previous_handlers = {n: h for n, h in handlers.items() if h != signal.SIG_IGN}  # nohup ignores SIGHUP
        self._listen(*self.previous_handlers)
        return self

    def __exit__(self, *_: object) -> None:
        if _in_main_thread():
            for number, handler in self.previous_handlers.items():
                signal.signal(number, handler)

    def start_training(self) -> None:
        """Only note signals from now on, Ctrl-C as well. The Trainer puts back the handlers that it found, in the end."""
        self.training = True
        self._listen(*self.previous_handlers, signal.SIGINT)

    def end_training(self) -> None:
        """Raises RunStoppedError for a signal that came when there was no step left at whose end to stop."""
        self.training = False
        if self.signal is not None:
            raise RunStoppedError.by_signal(self.signal)

    def pending(self) -> RunStoppedError | None:
        """The end that was asked for, if any was."""
        if self.signal is not None:
            return RunStoppedError.by_signal(self.signal)
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return RunStoppedError("trainer.max_time is up", TIME_IS_UP)
        return None

    def _listen(self, *numbers: int) -> None:
        if _in_main_thread():
            for number in numbers:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:  # the second Ctrl-C
            raise KeyboardInterrupt
        self.signal = number
        if not self.training:
            raise RunStoppedError.by_signal(number)


def _in_main_thread() -> bool:
    """Only there may signal handlers be set."""
    return threading.current_thread() is threading.main_thread()


def requeue_slurm_job() -> str:
    """Put this SLURM job into the queue again, if it is one. Returns what came of it, for people."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}" if job else os.environ.get("SLURM_JOB_ID")
    if not job or os.environ.get("SLURM_PROCID", "0") != "0":
        return ""
    if not shutil.which("scontrol"):
        return f"SLURM job {job} was not queued again: there is no scontrol here"
    process = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    if process.returncode:
        return f"SLURM job {job} was not queued again: {process.stderr.strip()}"
    return f"SLURM job {job} is queued again"
