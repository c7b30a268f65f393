"""The same jobs as tasks of Ray, on a cluster or on this machine: `launcher=ray`.

Ray starts a task again on another node if its node dies, and the run then goes on from its last checkpoint. The folder of the
study must be on a file system that all nodes share.
"""

import functools
import os
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from regulo.analysis.launchers.local import Job, JobEvent, NextJob
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.output import safe_output
from regulo.core.paths import redact_home

POLL_SECONDS = 1.0
"""between two looks at the tasks"""
RETRIES = 3
"""how often a task is started again because its node or its process has died"""
PARAMETERS = {"address": None, "num_cpus": 1, "num_gpus": None, "resources": None}
"""what `launcher.NAME=…` can set: the cluster (null: a running one, or this machine), and what each run needs (GPUs: 1 if the
cluster has any)"""


def connect(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Connect to the cluster; returns what each task needs. Raises InputError if Ray, cluster or parameter do not exist."""
    try:
        import ray
    except ImportError:
        raise InputError(
            Problem("launcher", "needs the package ray, which is not installed", "pip install 'regulo[ray]'")
        ) from None
    for name in parameters:
        if name not in PARAMETERS:
            raise InputError(Problem(f"launcher.{name}", "is no parameter of launcher=ray", nearest(name, PARAMETERS)))
    values = PARAMETERS | dict(parameters)
    if not ray.is_initialized():
        try:
            ray.init(address=values["address"] or os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            what = f"cannot connect to Ray: {str(error).splitlines()[0]}"
            raise InputError(Problem("launcher.address", what, "launcher.address=HOST:6379, or null for this machine")) from None
    gpus = values["num_gpus"]
    if gpus is None:
        gpus = min(1, ray.cluster_resources().get("GPU", 0))
    needs = {"num_cpus": values["num_cpus"], "num_gpus": gpus, "resources": values["resources"]}
    return {"max_retries": RETRIES} | {key: value for key, value in needs.items() if value is not None}


def count_at_once(options: Mapping[str, Any]) -> int:
    """How many tasks the cluster can run at once."""
    import ray

    free = ray.cluster_resources()
    limits = [free.get("CPU", 1) // options["num_cpus"]] + ([free["GPU"] // options["num_gpus"]] if options["num_gpus"] else [])
    return max(1, int(min(limits)))


def run_queue(next_job: NextJob, options: Mapping[str, Any], at_once: int, logs: Path) -> Generator[JobEvent, None, None]:
    """Run jobs as tasks, at most `at_once` at a time, and report when each starts and ends, as `local.run_queue` does.

    A task counts as started when it is submitted, because Ray does not say when it begins.
    """
    import ray

    task = ray.remote(**options)(_run_task)
    pending: dict[Any, tuple[str, float]] = {}
    try:
        while True:
            while len(pending) < at_once and (job := next_job()):
                name, function = job
                pending[task.remote(function, logs / f"{name}.txt", os.getcwd())] = name, time.perf_counter()
                yield JobEvent(name)
            if not pending:
                return
            ready, _ = ray.wait(list(pending), num_returns=1, timeout=POLL_SECONDS)
            for reference in ready:
                name, start = pending.pop(reference)
                yield JobEvent(name, time.perf_counter() - start, _failure_reason(reference))
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)


def _failure_reason(reference: Any) -> str:
    """Why a task that has ended failed; empty if it ended well."""
    import ray

    try:
        return str(ray.get(reference))
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return redact_home(lines[-1].strip()) if lines else type(error).__name__


def _run_task(function: Job, log: Path, folder: str) -> str:
    """Run one job in a worker of Ray; returns why it failed, empty if it did not."""
    import contextlib
    import traceback

    os.chdir(folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("a", encoding="utf-8") as file,
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
        safe_output(required=False),
    ):
        try:
            function()
        except Exception as error:
            print(redact_home(traceback.format_exc()), file=file)
            lines = str(error).splitlines()
            return lines[0] if lines else type(error).__name__
    return ""


def run_jobs(jobs: Mapping[str, Job], options: Mapping[str, Any], at_once: int, logs: Path) -> Generator[JobEvent, None, None]:
    """Run these jobs as tasks, and report when each starts and ends."""
    waiting = iter(jobs.items())
    return run_queue(functools.partial(next, waiting, None), options, at_once, logs)
