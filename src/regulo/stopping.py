"""A run can be asked to stop: by a signal, or by its clock. It ends its step, keeps a checkpoint, and says how to go on."""

import os
import shutil
import signal
import subprocess
import threading
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
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
    """What the run was asked for. A signal is noted and acts at the end of a step; a second Ctrl-C acts at once."""

    def __init__(self, seconds: float | None) -> None:
        self.end = None if seconds is None else time.monotonic() + seconds
        self.signal: int | None = None

    def listen(self) -> None:
        """Note signals from now on."""
        if threading.current_thread() is threading.main_thread():  # no other may
            for number in SIGNALS:
                signal.signal(number, self._note)  # the Trainer puts back, in the end, what was there

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def granted(self) -> Interrupted | None:
        """The end that was asked for, if any was."""
        if self.signal is not None:
            return Interrupted(signal.Signals(self.signal).name, 128 + self.signal)
        if self.end is not None and time.monotonic() >= self.end:
            return Interrupted("trainer.max_time is up", TIME_IS_UP)
        return None


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
