"""Which process of a run failed first, and why: from what the processes report, how they ended, and the stacks they left."""

import json
import re
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from regulo.core.errors import InputError, NonFiniteLossError, RunError
from regulo.core.files import atomic_write
from regulo.core.paths import redact_home

COLLECTIVES = ("torch/distributed/", "torch/autograd/graph.py")
"""where a rank waits for others: in a collective operation, or in the backward pass, where DDP has them"""
TIMEOUT = re.compile(r"Timeout \(([\d:.]+)\)!")
FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$', re.MULTILINE)


class PeerFailedError(RunError):
    """Another process of the run can't go on; the message says which."""


@dataclass(frozen=True)
class FailureReport:
    """What is known of the end of one process."""

    message: str
    """for people; it names the rank"""
    kind: str = RunError.__name__
    """of the exception"""
    is_echo: bool = False
    """it only says that another process has gone"""
    is_final: bool = False
    """it would come again, on all ranks alike"""
    time: float = 0.0

    @classmethod
    def of(cls, error: BaseException, rank: int) -> "FailureReport":
        """The report of an exception."""
        first_line = next(iter(str(error).splitlines()), "")
        cause = error.__cause__ if isinstance(error, RunError) and error.__cause__ else error
        if isinstance(
            error, PeerFailedError | NonFiniteLossError | InputError
        ):  # the first names a rank, and all ranks have the others
            message = first_line
        else:
            name = "" if isinstance(error, RunError) else type(error).__name__
            text = ": ".join(part for part in (name, first_line) if part)
            message = f"rank {rank}: {text} (its traceback is in the run folder: {traceback_file(rank)})"
        return cls(
            message, type(cause).__name__, _is_echo(error), isinstance(error, NonFiniteLossError | InputError), time.time()
        )

    def save(self, store: Any, rank: int) -> None:
        """Let the other processes and the launcher know."""
        store.set(f"failed/{rank}", json.dumps(asdict(self)))


def load_reports(store: Any, world_size: int) -> dict[int, FailureReport]:
    """The reports of all ranks that failed and could say so."""
    names = {rank: f"failed/{rank}" for rank in range(world_size)}
    return {rank: FailureReport(**json.loads(store.get(name))) for rank, name in names.items() if store.check([name])}


def find_cause(reports: Mapping[int, FailureReport], unresponsive: Mapping[int, str], folder: Path | None) -> FailureReport:
    """The failure that came first. `unresponsive`: what is wrong with processes that have no report."""
    causes = sorted((report for report in reports.values() if not report.is_echo), key=lambda report: report.time)
    if causes:
        return causes[0]
    ranks = sorted({*reports, *unresponsive})
    hangs = {rank: hang for rank in ranks if folder and (hang := read_hang(folder / traceback_file(rank)))}
    culprits = {rank: hang for rank, hang in hangs.items() if not hang.in_collective}
    silent = [f"rank {rank} {problem}" for rank, problem in sorted(unresponsive.items()) if rank not in hangs]
    if hangs and (culprits or not silent):
        where = "; ".join(f"rank {rank} hangs at {hang.location}" for rank, hang in (culprits or hangs).items())
        return FailureReport(f"{where}: no progress for {next(iter(hangs.values())).seconds} (trainer.hang_timeout)")
    return FailureReport("; ".join(silent)) if silent else min(reports.values(), key=lambda report: report.time)


class Hang(NamedTuple):
    """Where a process hung."""

    location: str
    """ "file.py:12 in function" """
    in_collective: bool
    """it only waited for other ranks"""
    seconds: str
    """without progress: "0:00:45" """


def read_hang(file: Path) -> Hang | None:
    """What the watchdog of a process has left behind; None if it did not end that process."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return None
    timeout = TIMEOUT.match(text)
    if timeout is None:
        return None
    main_thread = text.rpartition("Thread 0x")[2]  # the first thread comes last
    frame = FRAME.search(main_thread)
    if frame is None:
        return Hang("a place outside Python", False, timeout[1])
    path = Path(frame["file"])
    location = f"{path.name}:{frame['line']} in {frame['function']}"
    return Hang(location, any(part in path.as_posix() for part in COLLECTIVES), timeout[1])


def traceback_file(rank: int | str) -> str:
    """The file of the run folder in which a process leaves its stack."""
    return f"rank{rank}.txt"


def save_traceback(folder: Path, rank: int, error: BaseException) -> None:
    """Keep the traceback of an error in the run folder."""
    with suppress(OSError):  # a disk that is full must not hide the error
        atomic_write(folder / traceback_file(rank), redact_home("".join(traceback.format_exception(error))))


def tidy_tracebacks(folder: Path) -> None:
    """Once all processes have ended: what a watchdog writes names the home folder, and a killed process leaves an empty file."""
    for file in folder.glob(traceback_file("*")):
        text = file.read_text(encoding="utf-8")
        if text:
            atomic_write(file, redact_home(text))
        else:
            file.unlink()


def _is_echo(error: BaseException) -> bool:
    from torch.distributed import DistError

    text = str(error).lower()
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and ("gloo" in text or "nccl" in text))
