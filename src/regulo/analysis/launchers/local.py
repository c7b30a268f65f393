"""Independent jobs on one machine: a process each, as many at once as it has GPUs, or cores without one.

Small networks gain little from a second core, so that two jobs with a core each are done sooner than one after the other with
two. Processes are forked from a server that has imported what all of them need.
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

from regulo.core import affinity
from regulo.core.paths import redact_home

PRELOAD = [
    "lightning.pytorch",
    "albumentations",
    "torchvision",
    "torchmetrics",
    "regulo.training.build",
    "regulo.training.module",
]
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
GRACE = 20.0
"""seconds that a job has to end after it was told to"""


@dataclass(frozen=True)
class Slot:
    """A part of the machine that one job has to itself."""

    cores: tuple[int, ...]
    device: str = ""  # a GPU as CUDA_VISIBLE_DEVICES names it


@dataclass(frozen=True)
class JobEvent:
    """A job has begun (`seconds` is None), or ended after some seconds, well (`error` is empty) or not."""

    name: str
    seconds: float | None = None
    error: str = ""


@dataclass(frozen=True)
class _Running:
    name: str
    process: Any
    place: Slot
    receiver: Connection  # of the line that says why it failed
    start: float


def machine_slots(at_once: int | None = None) -> list[Slot]:
    """The machine in `at_once` equal parts; by default one for each GPU, or for each core if there is none."""
    import torch

    mine = affinity.available_cores()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = [visible[i] if i < len(visible) and visible[i] else str(i) for i in range(torch.cuda.device_count())]
    n = min(at_once or len(devices) or len(mine), len(mine))
    return [Slot(tuple(mine[i::n]), devices[i % len(devices)] if devices else "") for i in range(n)]


def run_jobs(
    jobs: Mapping[str, Callable[[], object]], parts: Sequence[Slot], logs: Path, go_on: Callable[[], bool] = lambda: True
) -> Generator[JobEvent, None, None]:
    """Run the jobs, which must be picklable, and tell when each begins and ends; what they print goes to `logs`/<name>.txt.

    A job that raises, or is killed, does not disturb the others. Those that run end if this process ends, or stops listening.
    `go_on` is asked before each start; once it says no, none of those that wait is started.
    """
    waiting, free = list(jobs.items()), list(parts)
    running: dict[int, _Running] = {}
    try:
        while waiting or running:
            while waiting and free:
                if not go_on():
                    waiting.clear()
                    break
                (name, job), place = waiting.pop(0), free.pop(0)
                started = _start(name, job, place, logs)
                running[started.process.sentinel] = started
                yield JobEvent(name)
            for sentinel in wait(list(running)):
                ended = running.pop(sentinel)  # type: ignore[arg-type]
                free.append(ended.place)
                yield JobEvent(ended.name, time.perf_counter() - ended.start, _error(ended))
    finally:
        _stop(running.values())


def _start(name: str, job: Callable[[], object], place: Slot, logs: Path) -> _Running:
    """Start a job in a process of its own."""
    context: Any = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(PRELOAD)
    receiver, sender = context.Pipe(duplex=False)
    arguments = (job, place, sender, (logs / f"{name}.txt").absolute(), Path.cwd(), dict(os.environ))
    process = context.Process(target=_work, args=arguments, name=name)
    process.start()
    sender.close()
    return _Running(name, process, place, receiver, time.perf_counter())


def _stop(jobs: Iterable[_Running]) -> None:
    """Ask jobs to end, and kill those that do not."""
    jobs = list(jobs)
    for job in jobs:
        job.process.terminate()
    for job in jobs:
        job.process.join(GRACE)
        job.process.kill()


def _error(job: _Running) -> str:
    """Why a job ended: empty if it did what it should."""
    job.process.join()
    try:
        error = str(job.receiver.recv()) if job.receiver.poll() else ""
    except EOFError:
        error = ""
    code = job.process.exitcode
    if not error and code:
        error = f"it was killed (signal {-code})" if code < 0 else f"it ended with exit code {code}"
    return error


def _work(
    job: Callable[[], object], place: Slot, sender: Connection, log: Path, folder: Path, environment: dict[str, str]
) -> None:
    """One job, in its own process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(folder)
    os.environ.update(environment)
    if place.device:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.device
    affinity.pin_to_cores(place.cores)
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    try:
        job()
    except BaseException as error:
        print(redact_home(traceback.format_exc()), file=sys.stderr)
        text = str(error).splitlines()
        sender.send(text[0] if text else type(error).__name__)
        sys.exit(1)


def _end_with_parent() -> None:
    """End this process when the one that wanted it has ended, however it did."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
        os._exit(1)
