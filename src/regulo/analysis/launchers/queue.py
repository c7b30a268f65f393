"""A queue of jobs on this machine or on a cluster, whatever the launcher."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regulo.analysis.launchers import local, ray_cluster, slurm
from regulo.analysis.launchers.local import Job, JobEvent, NextJob
from regulo.analysis.launchers.options import LaunchOptions

RAY = "ray"
"""the launcher that is not submitit's"""


@dataclass(frozen=True)
class Queue:
    """Where jobs run, and how many at once."""

    logs: Path
    slots: tuple[local.Slot, ...] = ()
    """the parts of this machine; empty for a cluster"""
    executor: Any = None
    """of submitit; None: it is not used"""
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    """what each task of Ray needs; empty: it is not used"""
    at_once: int = 0
    """0: as many as a cluster likes"""

    @classmethod
    def open(cls, options: LaunchOptions, logs: Path) -> "Queue":
        """The queue that these options ask for. Raises InputError if there is no such cluster."""
        if options.launcher == RAY:
            needs = ray_cluster.connect(options.parameters)
            return cls(logs, ray_options=needs, at_once=options.at_once or ray_cluster.count_at_once(needs))
        if options.launcher:
            executor = slurm.make_executor(options.launcher, options.parameters, options.at_once, logs)
            return cls(logs, executor=executor, at_once=options.at_once or 0)
        slots = tuple(local.machine_slots(options.at_once))
        return cls(logs, slots=slots, at_once=len(slots))

    def __str__(self) -> str:
        if self.ray_options:
            return f"through Ray, {self.at_once} at once"
        return f"through submitit on {self.executor.cluster}" if self.executor else local.describe_slots(self.slots)

    def run(self, next_job: NextJob) -> Generator[JobEvent, None, None]:
        """Run jobs as long as there are any, and report when each starts and ends; see `local.run_queue`."""
        if self.ray_options:
            return ray_cluster.run_queue(next_job, self.ray_options, self.at_once, self.logs)
        if self.executor:
            return slurm.run_queue(next_job, self.executor, self.at_once or 1)
        return local.run_queue(next_job, self.slots, self.logs)

    def run_jobs(self, jobs: Mapping[str, Job], may_start: Callable[[], bool]) -> Generator[JobEvent, None, None]:
        """Run these jobs; see `local.run_jobs`. `may_start` counts on this machine only."""
        if self.ray_options:
            return ray_cluster.run_jobs(jobs, self.ray_options, self.at_once, self.logs)
        if self.executor:
            return slurm.run_jobs(jobs, self.executor)
        return local.run_jobs(jobs, self.slots, self.logs, may_start)
