"""The same jobs on a cluster, through submitit: `launcher=slurm`, or `launcher=local` to try it on this machine."""

import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from regulo.analysis.launchers.local import Job, JobEvent, NextJob
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.output import safe_output

POLL_SECONDS = 2.0
"""between two looks at the queue"""


def make_executor(cluster: str, parameters: Mapping[str, Any], at_once: int | None, logs: Path) -> Any:
    """Submitit's executor. Raises InputError if submitit, the cluster or a parameter does not exist."""
    try:
        import submitit
        from submitit.core import plugins
    except ImportError:
        what = "needs the package submitit, which is not installed"
        raise InputError(Problem("launcher", what, "pip install 'regulo[slurm]'")) from None
    clusters = plugins.get_executors()
    if cluster not in clusters:
        raise InputError(Problem("launcher", f"submitit knows no cluster {cluster!r}", nearest(cluster, clusters)))
    try:
        executor = submitit.AutoExecutor(folder=logs / "%j", cluster=cluster)
        executor.update_parameters(**parameters)
        if at_once and cluster == "slurm":
            executor.update_parameters(slurm_array_parallelism=at_once)
    except (NameError, AssertionError, TypeError, ValueError, RuntimeError) as error:
        key = ", ".join(f"launcher.{name}" for name in parameters) or "launcher"
        raise InputError(Problem(key, str(error).splitlines()[0])) from None
    return executor


def run_jobs(jobs: Mapping[str, Job], executor: Any) -> Generator[JobEvent, None, None]:
    """Submit the jobs, which must be picklable, as one array, and report when each starts and ends, as `local.run_jobs` does.

    Jobs that have not ended are canceled if the caller closes the generator. If this process is killed they continue, and a
    later start of the study waits for them.
    """
    with executor.batch():
        pending = {name: executor.submit(_run_job, function) for name, function in jobs.items()}
    return _follow(pending, lambda: None, executor, len(jobs))


def run_queue(next_job: NextJob, executor: Any, at_once: int) -> Generator[JobEvent, None, None]:
    """Submit a job whenever less than `at_once` wait or run, and report when each starts and ends, as `local.run_queue` does."""
    return _follow({}, next_job, executor, at_once)


def _follow(pending: dict[str, Any], next_job: NextJob, executor: Any, at_once: int) -> Generator[JobEvent, None, None]:
    """Report when the pending jobs start and end, and submit others as far as there are any."""
    start_times: dict[str, float] = {}
    try:
        while True:
            while len(pending) < at_once and (job := next_job()):
                pending[job[0]] = executor.submit(_run_job, job[1])
            if not pending:
                return
            waits = True
            for name, submitted in list(pending.items()):
                is_done = submitted.done()
                if name not in start_times and (is_done or submitted.state.upper() == "RUNNING"):
                    start_times[name] = time.perf_counter()
                    yield JobEvent(name)
                if is_done:
                    del pending[name]
                    waits = False
                    yield JobEvent(name, time.perf_counter() - start_times.pop(name), _failure_reason(submitted))
            if waits:
                time.sleep(POLL_SECONDS)
    finally:
        for submitted in pending.values():
            submitted.cancel()


def _run_job(function: Callable[[], object]) -> None:
    """Run one job, whose output is no reason to fail."""
    with safe_output(required=False):
        function()


def _failure_reason(job: Any) -> str:
    """Why a job that has ended failed; empty if it ended well."""
    error = job.exception()
    lines = [line for line in str(error or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__ if error else ""
