"""A run can be asked to stop: by a signal, or by its clock. It ends its step, keeps a checkpoint, and says how to go on."""

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


class Interrupted(SystemExit):
    """The run stopped because it was asked to, and can go on. Exit code 128 + signal, or 124."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(code)
        self.why = why

    def __str__(self) -> str:
        return self.why


class Wishes:
    """What the run was asked for. Within `with wishes`, a signal ends it at once; while it `trains`, at the end of a step."""

    def __init__(self, seconds: float | None) -> None:
        self.end = None if seconds is None else time.monotonic() + seconds
        self.signal: int | None = None
        self.training = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Wishes":
        self.before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) != signal.SIG_IGN}  # as nohup does
        self._listen(*self.before)
        return self

    def __exit__(self, *_: object) -> None:
        if _may_listen():
            for number, handler in self.before.items():
                signal.signal(number, handler)

    def trains(self) -> None:
        """Note signals from now on, Ctrl-C as well; the Trainer, which has handlers of its own, puts back ours in the end."""
        self.training = True
        self._listen(*self.before, signal.SIGINT)

    def trained(self) -> None:
        """Raises Interrupted for a signal that came when there was no step any more at whose end to stop."""
        self.training = False
        if self.signal is not None:
            raise self._interrupted(self.signal)

    def _listen(self, *numbers: int) -> None:
        if _may_listen():
            for number in numbers:
                signal.signal(number, self._act)

    def _act(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        if not self.training:
            raise self._interrupted(number)

    @staticmethod
    def _interrupted(number: int) -> Interrupted:
        return Interrupted(signal.Signals(number).name, 128 + number)

    def granted(self) -> Interrupted | None:
        """The end that was asked for, if any was."""
        if self.signal is not None:
            return self._interrupted(self.signal)
        if self.end is not None and time.monotonic() >= self.end:
            return Interrupted("trainer.max_time is up", TIME_IS_UP)
        return None


def _may_listen() -> bool:
    """Only the main thread may."""
    return threading.current_thread() is threading.main_thread()


def requeue() -> str:
    """Put this SLURM job into the queue again, if it is one. Returns what came of it, for people."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}" if job else os.environ.get("SLURM_JOB_ID")
    if not job or os.environ.get("SLURM_PROCID", "0") != "0":
        return ""
    if not shutil.which("scontrol"):
        return f"SLURM job {job} was not queued again: there is no scontrol here"
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    return (
        f"SLURM job {job} was not queued again: {done.stderr.strip()}" if done.returncode else f"SLURM job {job} is queued again"
    )


def started_again() -> bool:
    """Whether the cluster started this very job before: SLURM's requeue, or torchrun's restart."""
    return any(int(os.environ.get(v) or 0) > 0 for v in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"))
