"""Running what of a study is not finished, and telling how it goes."""

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from regulo.analysis.ablation.runs import StudyRun, make_run
from regulo.analysis.ablation.study import StudyArgs
from regulo.analysis.launchers import local, slurm
from regulo.regularizers.base import Goal

Jobs = Mapping[str, Callable[[], object]]


class StudyProgress:
    """How far a study is."""

    def __init__(self, runs: Sequence[StudyRun], goal: Goal, at_once: int, budget: float | None) -> None:
        self.runs, self.goal, self.at_once, self.budget = runs, goal, at_once, budget
        self.began = time.perf_counter()
        self.left = sum(run.state() in ("open", "unmeasured") for run in runs)
        self.running: dict[str, float] = {}
        self.took: list[float] = []

    def hear(self, event: local.JobEvent) -> None:
        """A run has begun or ended."""
        if event.seconds is None:
            self.running[event.name] = time.perf_counter()
        else:
            del self.running[event.name]
            self.took.append(event.seconds)
            self.left -= 1

    def go_on(self) -> bool:
        """Whether a run that begins now is expected to end within the budget: none before took longer than it may."""
        used = time.perf_counter() - self.began
        return self.budget is None or used + max(self.took, default=0) < 60 * self.budget

    def seconds_left(self) -> float | None:
        """Until all have ended, if they take as long as those before."""
        if not self.took:
            return None
        each, now = statistics.fmean(self.took), time.perf_counter()
        ahead = max(0.0, self.left * each - sum(min(now - since, each) for since in self.running.values()))
        return ahead / min(self.at_once, max(1, self.left))

    def best(self) -> str:
        """The cell that is best on validation so far, by the mean of its finished runs."""
        values: dict[str, list[float]] = {}
        for run in self.runs:
            known = run.result() if run.label_noise is None else {}
            if known.get("status") == "done":
                values.setdefault(run.cell.label, []).append(known[self.goal.monitor])
        if not values:
            return ""
        choose = min if self.goal.mode == "min" else max
        label = choose(values, key=lambda c: statistics.fmean(values[c]))
        return f"best so far: {label} ({self.goal.monitor} {statistics.fmean(values[label]):.4f}, n = {len(values[label])})"

    def __str__(self) -> str:
        ended = len(self.runs) - self.left
        running = len(self.running)
        seconds = self.seconds_left()
        left = "" if seconds is None or not self.left else f", about {duration(seconds)} left"
        parts = [f"{ended} of {len(self.runs)} runs ended, {running} running, {self.left - running} waiting{left}", self.best()]
        return "; ".join(filter(None, parts))


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def shares(places: Sequence[local.Slot]) -> str:
    """How many runs at once, and what each has of the machine."""
    threads = " or ".join(str(n) for n in sorted({len(place.cores) for place in places}))
    device = f" and GPU {'/'.join(dict.fromkeys(place.device for place in places))}" if places[0].device else ""
    return f"{len(places)} at once, each on {threads} core{'s' * (threads != '1')} with as many threads{device}"


def run_all(order: StudyArgs, runs: Sequence[StudyRun], goal: Goal, root: Path) -> dict[str, str]:
    """Run what is not finished; by the name of each run that did not end well, why."""
    from regulo.core.console import CONSOLE

    wanted = {run.name: functools.partial(make_run, run) for run in runs if run.state() in ("open", "unmeasured")}
    said = f"{len(runs)} runs, {len(wanted)} of them to do"
    if not wanted:
        CONSOLE.print(f"{said}: all have ended", soft_wrap=True)
        return {}
    if order.launcher:
        made = slurm.make_executor(order.launcher, order.parameters, order.at_once, root.absolute() / "logs")
        CONSOLE.print(f"{said}, through submitit on {made.cluster}", soft_wrap=True)
        course = StudyProgress(runs, goal, order.at_once or len(wanted), None)
        events = slurm.run_jobs(wanted, made)
    else:
        places = local.machine_slots(order.at_once)
        CONSOLE.print(f"{said}: {shares(places)}", soft_wrap=True)
        course = StudyProgress(runs, goal, len(places), order.study.budget)
        events = local.run_jobs(wanted, places, root / "logs", course.go_on)
    errors: dict[str, str] = {}
    with contextlib.closing(events), shown(course) as tell:
        for event in events:
            course.hear(event)
            if event.error:
                errors[event.name] = event.error
            tell(event)
    return errors


@contextlib.contextmanager
def shown(course: StudyProgress) -> Iterator[Callable[[local.JobEvent], None]]:
    """Within: a function that shows the course after each event, live on a terminal and line by line in a log."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column

    from regulo.core.console import CONSOLE

    live = CONSOLE.is_terminal
    words = TextColumn("{task.description}", markup=False, table_column=Column(ratio=1))  # may take several lines
    with Progress(BarColumn(20), TimeElapsedColumn(), words, console=CONSOLE, expand=True, disable=not live) as progress:
        bar = progress.add_task(str(course), total=len(course.runs), completed=len(course.runs) - course.left)

        def tell(event: local.JobEvent) -> None:
            if event.seconds is not None:
                end = f"failed: {event.error}" if event.error else "done"
                CONSOLE.print(f"{event.name}: {end} after {duration(event.seconds)}", soft_wrap=True)
                if not live:
                    CONSOLE.print(f"  {course}", soft_wrap=True)
            progress.update(bar, description=str(course), completed=len(course.runs) - course.left)

        yield tell
