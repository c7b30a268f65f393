"""The same jobs on a cluster, through submitit: `launcher=slurm`, or `launcher=local` to try it on this machine."""

import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from regulo.analysis.launchers.local import JobEvent
from regulo.core.errors import InputError, Problem, nearest

EVERY = 2.0
"""seconds between two looks at the queue"""


def make_executor(cluster: str, parameters: Mapping[str, Any], at_once: int | None, logs: Path) -> Any:
    """Submitit's executor. Raises InputError if there is no submitit, no such cluster, or no such parameter."""
    try:
        import submitit
        from submitit.core import plugins
    except ImportError:
        what = "needs the package submitit, which is not installed"
        raise InputError(Problem("launcher", what, "pip install 'regulo[slurm]'")) from None
    known = plugins.get_executors()
    if cluster not in known:
        raise InputError(Problem("launcher", f"submitit knows no cluster {cluster!r}", nearest(cluster, known)))
    try:
        made = submitit.AutoExecutor(folder=logs / "%j", cluster=cluster)
        made.update_parameters(**parameters)
        if at_once and cluster == "slurm":
            made.update_parameters(slurm_array_parallelism=at_once)
    except (NameError, AssertionError, TypeError, ValueError, RuntimeError) as error:
        key = ", ".join(f"launcher.{name}" for name in parameters) or "launcher"
        raise InputError(Problem(key, str(error).splitlines()[0])) from None
    return made


def run_jobs(jobs: Mapping[str, Callable[[], object]], made: Any) -> Generator[JobEvent, None, None]:
    """Submit the jobs, which must be picklable, as one array, and report when each begins and ends, as `local.run_jobs` does.

    Jobs that have not ended are cancelled if this stops listening; if this process is killed they go on, and a later start of
    the study waits for them.
    """
    with made.batch():
        submitted = {name: made.submit(job) for name, job in jobs.items()}
    begun: dict[str, float] = {}
    try:
        while submitted:
            for name, job in list(submitted.items()):
                ended = job.done()
                if name not in begun and (ended or job.state.upper() == "RUNNING"):
                    begun[name] = time.perf_counter()
                    yield JobEvent(name)
                if ended:
                    del submitted[name]
                    yield JobEvent(name, time.perf_counter() - begun[name], _why(job))
            if submitted:
                time.sleep(EVERY)
    finally:
        for job in submitted.values():
            job.cancel()


def _why(job: Any) -> str:
    """Why a job ended: empty if it did what it should."""
    error = job.exception()
    lines = [line for line in str(error or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__ if error else ""
