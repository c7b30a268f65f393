"""Make the runs that are not finished, and show the progress."""

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from regulo.analysis.launchers import local
from regulo.analysis.launchers.options import LaunchOptions
from regulo.analysis.launchers.queue import Queue
from regulo.analysis.launchers.runs import PlannedRun, make_run
from regulo.core.text import format_duration
from regulo.regularizers.base import Goal


class Progress(Protocol):
    """What a progress display shows; as text: what has ended, runs and waits, the time that is left, and the best so far."""

    @property
    def total(self) -> int:
        """The number of runs, as far as it is known."""
        ...

    @property
    def num_ended(self) -> int:
        """How many of them have ended."""
        ...


class RunsProgress:
    """How many runs have ended, run and wait, and how long the rest will take.

    goal: the metric that says which condition is best. budget: minutes that this start may take; None: any number.
    """

    def __init__(self, runs: Sequence[PlannedRun], goal: Goal, at_once: int, budget: float | None) -> None:
        self.runs, self.goal, self.at_once, self.budget = runs, goal, at_once, budget
        self.start = time.perf_counter()
        self.remaining = sum(run.state() in ("open", "unmeasured") for run in runs)
        self.start_times: dict[str, float] = {}  # of the runs that run now
        self.durations: list[float] = []  # seconds of the runs that have ended

    @property
    def total(self) -> int:
        """The number of runs."""
        return len(self.runs)

    @property
    def num_ended(self) -> int:
        """The number of runs that have ended, in this start or before."""
        return len(self.runs) - self.remaining

    def update(self, event: local.JobEvent) -> None:
        """Count a run that has started or ended."""
        if event.seconds is None:
            self.start_times[event.name] = time.perf_counter()
        else:
            del self.start_times[event.name]
            self.durations.append(event.seconds)
            self.remaining -= 1

    def may_start(self) -> bool:
        """Whether a run that starts now is expected to end within the budget: it may take as long as the longest so far."""
        elapsed = time.perf_counter() - self.start
        return self.budget is None or elapsed + max(self.durations, default=0) < 60 * self.budget

    def seconds_left(self) -> float | None:
        """Seconds until all have ended, if they take as long as those before; None before the first has ended."""
        if not self.durations:
            return None
        mean, now = statistics.fmean(self.durations), time.perf_counter()
        work = max(0.0, self.remaining * mean - sum(min(now - start, mean) for start in self.start_times.values()))
        return work / min(self.at_once, max(1, self.remaining))

    def best(self) -> str:
        """The condition that is best on validation so far, by the mean of its finished runs; empty if there is only one."""
        if len({run.condition for run in self.runs} - {None}) < 2:
            return ""
        values: dict[str, list[float]] = {}
        for run in self.runs:
            result = run.result() if run.condition is not None else {}
            if run.condition is not None and result.get("status") == "done":
                values.setdefault(run.condition, []).append(result[self.goal.monitor])
        if not values:
            return ""
        choose = min if self.goal.mode == "min" else max
        label = choose(values, key=lambda c: statistics.fmean(values[c]))
        return f"best so far: {label} ({self.goal.monitor} {statistics.fmean(values[label]):.4f}, n = {len(values[label])})"

    def __str__(self) -> str:
        running = len(self.start_times)
        seconds = self.seconds_left()
        rest = "" if seconds is None or not self.remaining else f", about {format_duration(seconds)} left"
        counts = f"{self.num_ended} of {len(self.runs)} runs ended, {running} running, {self.remaining - running} waiting{rest}"
        return "; ".join(filter(None, [counts, self.best()]))


def run_all(
    options: LaunchOptions, runs: Sequence[PlannedRun], goal: Goal, root: Path, budget: float | None = None
) -> dict[str, str]:
    """Make the runs that are not finished. Returns the error by the name of each run that failed in this start.

    budget: minutes that this start may take, on this machine; None: any number.
    """
    from regulo.core.console import CONSOLE

    jobs = {run.name: functools.partial(make_run, run) for run in runs if run.state() in ("open", "unmeasured")}
    counts = f"{len(runs)} runs, {len(jobs)} of them to do"
    if not jobs:
        CONSOLE.print(f"{counts}: all have ended", soft_wrap=True)
        return {}
    queue = Queue.open(options, root.absolute() / "logs")
    CONSOLE.print(f"{counts}: {queue}", soft_wrap=True)
    progress = RunsProgress(runs, goal, queue.at_once or len(jobs), None if options.launcher else budget)
    events = queue.run_jobs(jobs, progress.may_start)
    errors: dict[str, str] = {}
    with contextlib.closing(events), progress_display(progress) as show:
        for event in events:
            progress.update(event)
            if event.error:
                errors[event.name] = event.error
            show(event)
    return errors


@contextlib.contextmanager
def progress_display(progress: Progress) -> Iterator[Callable[[local.JobEvent], None]]:
    """Yields a function that shows the progress after an event: as a live bar on a terminal, line by line in a log."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    from regulo.core.console import CONSOLE

    live = CONSOLE.is_terminal
    text = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1))  # may take several lines
    with Progress(BarColumn(20), TimeElapsedColumn(), text, console=CONSOLE, expand=True, disable=not live) as bars:
        bar = bars.add_task(str(progress), total=progress.total, completed=progress.num_ended)

        def show(event: local.JobEvent) -> None:
            if event.seconds is not None:
                end = f"failed: {event.error}" if event.error else "done"
                CONSOLE.print(f"{event.name}: {end} after {format_duration(event.seconds)}", soft_wrap=True)
                if not live:
                    CONSOLE.print(f"  {progress}", soft_wrap=True)
            bars.update(bar, description=str(progress), total=progress.total, completed=progress.num_ended)

        yield show
