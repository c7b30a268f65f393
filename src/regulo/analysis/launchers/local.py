"""Independent jobs on one machine: one process each, as many at once as there are GPUs, or cores if there is no GPU.

Small networks gain little from a second core: two jobs with one core each end sooner than two jobs one after the other with two
cores each. Processes are forked from a server that has imported what all of them need.
"""

import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from regulo.analysis.launchers.server import STUDY_PID
from regulo.core import affinity
from regulo.core.output import safe_output
from regulo.core.paths import redact_home

PRELOAD = [
    "regulo.analysis.launchers.server",
    "lightning.pytorch",
    "albumentations",
    "torchvision",
    "torchmetrics",
    "regulo.training.build",
    "regulo.training.module",
]
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
GRACE = 15.0
"""seconds that jobs have to end after SIGTERM, before they are killed"""


@dataclass(frozen=True)
class Slot:
    """A part of the machine that one job has to itself."""

    cores: tuple[int, ...]
    device: str = ""  # a GPU as CUDA_VISIBLE_DEVICES names it


@dataclass(frozen=True)
class JobEvent:
    """A job has started (`seconds` is None), or ended after some seconds; `error` is empty if it ended well."""

    name: str
    seconds: float | None = None
    error: str = ""


Job = Callable[[], object]
NextJob = Callable[[], "tuple[str, Job] | None"]
"""returns the name of the next job and the job; None: there is none now"""


@dataclass(frozen=True)
class _RunningJob:
    name: str
    process: Any
    slot: Slot
    receiver: Connection  # of the line that says why the job failed
    start: float


def machine_slots(at_once: int | None = None) -> list[Slot]:
    """The machine in `at_once` equal parts; by default one for each GPU, or for each core if there is no GPU."""
    import torch

    cores = affinity.available_cores()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = [visible[i] if i < len(visible) and visible[i] else str(i) for i in range(torch.cuda.device_count())]
    n = min(at_once or len(devices) or len(cores), len(cores))
    return [Slot(tuple(cores[i::n]), devices[i % len(devices)] if devices else "") for i in range(n)]


def describe_slots(slots: Sequence[Slot]) -> str:
    """How many runs at once, and what each has of the machine."""
    threads = " or ".join(str(n) for n in sorted({len(slot.cores) for slot in slots}))
    device = f" and GPU {'/'.join(dict.fromkeys(slot.device for slot in slots))}" if slots[0].device else ""
    return f"{len(slots)} at once, each on {threads} core{'s' * (threads != '1')} with as many threads{device}"


def run_jobs(
    jobs: Mapping[str, Job], slots: Sequence[Slot], logs: Path, may_start: Callable[[], bool] = lambda: True
) -> Generator[JobEvent, None, None]:
    """Run the jobs and report when each starts and ends, as `run_queue` does.

    `may_start` is called before each start; after it has returned False, no waiting job is started.
    """
    waiting = list(jobs.items())

    def next_job() -> tuple[str, Job] | None:
        if waiting and not may_start():
            waiting.clear()
        return waiting.pop(0) if waiting else None

    return run_queue(next_job, slots, logs)


def run_queue(next_job: NextJob, slots: Sequence[Slot], logs: Path) -> Generator[JobEvent, None, None]:
    """Run jobs, which must be picklable, and report when each starts and ends; their output goes to `logs`/<name>.txt.

    `next_job` is called whenever a slot is free: it returns the name of a job and the job, or None if there is none now. It is
    called again after each end of a job; without any job that runs, None ends the queue. A job that raises or is killed does not
    disturb the others. Running jobs end if this process ends, or if the caller closes the generator.
    """
    free = list(slots)
    running: dict[int, _RunningJob] = {}
    try:
        while True:
            while free and (job := next_job()):
                name, function = job
                started = _start(name, function, free.pop(0), logs)
                running[started.process.sentinel] = started
                yield JobEvent(name)
            if not running:
                return
            for sentinel in wait(list(running)):
                ended = running.pop(sentinel)  # type: ignore[arg-type]
                free.append(ended.slot)
                yield JobEvent(ended.name, time.perf_counter() - ended.start, _failure_reason(ended))
    finally:
        _stop(running.values())


def _start(name: str, function: Callable[[], object], slot: Slot, logs: Path) -> _RunningJob:
    """Start a job in a process of its own."""
    context: Any = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        os.environ[STUDY_PID] = str(os.getpid())
        context.set_forkserver_preload(PRELOAD)
    receiver, sender = context.Pipe(duplex=False)
    arguments = (function, slot, sender, (logs / f"{name}.txt").absolute(), Path.cwd(), dict(os.environ))
    process = context.Process(target=_job_main, args=arguments, name=name)
    process.start()
    sender.close()
    return _RunningJob(name, process, slot, receiver, time.perf_counter())


def _stop(jobs: Iterable[_RunningJob]) -> None:
    """Ask jobs to end, and kill those that do not."""
    jobs = list(jobs)
    for job in jobs:
        job.process.terminate()
    deadline = time.monotonic() + GRACE
    for job in jobs:
        job.process.join(max(0.0, deadline - time.monotonic()))
        job.process.kill()


def _failure_reason(job: _RunningJob) -> str:
    """Why a job that has ended failed; empty if it ended well."""
    job.process.join()
    try:
        error = str(job.receiver.recv()) if job.receiver.poll() else ""
    except EOFError:
        error = ""
    code = job.process.exitcode
    if not error and code:
        error = f"it was killed (signal {-code})" if code < 0 else f"it ended with exit code {code}"
    return error


def _job_main(
    function: Callable[[], object], slot: Slot, sender: Connection, log: Path, folder: Path, environment: dict[str, str]
) -> None:
    """Run one job, in its own process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(folder)
    os.environ.update(environment)
    if slot.device:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.device
    affinity.pin_to_cores(slot.cores)
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    with safe_output(required=False):
        try:
            function()
        except BaseException as error:
            print(redact_home(traceback.format_exc()), file=sys.stderr)
            lines = str(error).splitlines()
            sender.send(lines[0] if lines else type(error).__name__)
            sys.exit(1)


def _end_with_parent() -> None:
    """End this process when its parent has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
