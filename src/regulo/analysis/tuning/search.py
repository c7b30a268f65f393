"""The search: runs of plans, as many at once as there is room for, until the budget is spent."""

import contextlib
import functools
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regulo.analysis.launchers.local import JobEvent
from regulo.analysis.launchers.queue import Queue
from regulo.analysis.launchers.runner import progress_display
from regulo.analysis.launchers.runs import PERMANENT_ERROR, PlannedRun, make_run
from regulo.analysis.tuning.budget import Budget, Cost, estimate_cost, expected_runs, spent_work
from regulo.analysis.tuning.study import SearchStudy, Trial
from regulo.core.errors import RunError
from regulo.core.text import format_duration

FIRST_FAILURES, LATER_FAILURES = 3, 8
"""runs that fail one after the other, before any has ended well or later, end the search: something else than plans is wrong"""
WAIT_SECONDS = 2.0
"""between two looks at the runs of another process"""


class Search:
    """The search of a study by this process. base: overrides of the run that is tuned. seed: of all runs of the search."""

    def __init__(self, study: SearchStudy, base: Sequence[str], seed: int, budget: Budget, cost: Cost) -> None:
        self.study, self.base, self.seed, self.budget = study, base, seed, budget
        self.cost_before = cost
        self.running: dict[str, tuple[Trial, float]] = {}  # by the name of the run: since when
        self.failed: list[tuple[Trial, float, str]] = []  # since the last run that ended well: trial, seconds, error

    def run(self, queue: Queue) -> None:
        """Make runs until the budget is spent. Raises RunError if they fail one after the other."""
        with self.study.ownership():
            while True:
                others_run = self._others_run()  # before this look at what is left: what they begin later is their own
                events = queue.run(self.next_job)
                with contextlib.closing(events), progress_display(self) as show:
                    for event in events:
                        self.handle(event)
                        show(event)
                if self.failed:
                    self.record_failures()  # a longer run that failed has a second try
                elif not others_run:
                    return
                else:
                    time.sleep(WAIT_SECONDS)

    def _others_run(self) -> bool:
        """Whether another process has runs of this study, which may still bring more to do."""
        return any(trial.state == "running" for trial in self.study.trials()) and bool(self.study.other_owners())

    # ---- jobs

    def next_job(self) -> tuple[str, functools.partial[None]] | None:
        """The next run to start; None if there is none now."""
        while trial := self.study.next_trial(self.may_start):
            run = self.run_of(trial)
            self.running[run.name] = trial, time.perf_counter()
            if run.state() == "open":
                return run.name, functools.partial(make_run, run)
            self.handle(JobEvent(run.name, float(run.result().get("fit_seconds") or 0.0)))  # it ended just before a kill
        return None

    def run_of(self, trial: Trial) -> PlannedRun:
        """The run of a trial."""
        overrides = (*self.base, *trial.overrides, f"trainer.max_epochs={trial.epochs}", f"seed={self.seed}")
        return PlannedRun(self.study.root / trial.run_name, overrides)

    def may_start(self, epochs: int, is_new: bool) -> bool:
        """Whether a run fits into what is left of the budget. The first plan always does."""
        trials = self.study.trials()
        if not trials:
            return True
        if is_new and self.budget.trials is not None and self.study.num_plans() >= self.budget.trials:
            return False
        cost = self.cost()
        return spent_work(trials, cost) + cost.seconds(epochs) <= self.budget.search_work(cost, self.study.rungs[-1])

    def cost(self) -> Cost:
        """What runs take, as far as it is known."""
        return estimate_cost(self.study.trials(), self.cost_before)

    def handle(self, event: JobEvent) -> None:
        """Write down that a run has ended. Raises RunError if too many have failed one after the other."""
        if event.seconds is None or event.name not in self.running:
            return
        trial, _ = self.running.pop(event.name)
        result = self.run_of(trial).result()
        seconds = max(event.seconds, float(result.get("fit_seconds") or 0.0))  # also those before a kill
        if result.get("status") == "done":
            self.record_failures()
            others = [float(result.get(key, math.inf)) for key in self.study.others]
            self.study.finish(trial, "done", float(result[self.study.goal.monitor]), seconds, others=others)
        elif result.get("error_type") == PERMANENT_ERROR:
            self.study.finish(trial, "diverged", None, seconds, str(result.get("error", "")))
        else:
            error = event.error or str(result.get("error", "")) or "it left no result"
            self.failed.append((trial, seconds, error))
            has_success = any(t.state == "done" for t in self.study.trials())
            if len(self.failed) >= (LATER_FAILURES if has_success else FIRST_FAILURES):
                which = "last" if has_success else "first"
                raise RunError(f"the {which} {len(self.failed)} runs failed, the last one with: {error}")

    def record_failures(self) -> None:
        """Write down the runs that have failed, now that others work. Until then, a study that is started again repeats them."""
        for trial, seconds, error in self.failed:
            self.study.finish(trial, "failed", None, seconds, error)
        self.failed = []

    # ---- progress

    @property
    def total(self) -> int:
        """About how many runs the search will have."""
        return expected_runs(self._own(), self.budget, self.cost(), self.study.rungs)

    @property
    def num_ended(self) -> int:
        """How many runs have ended."""
        return sum(trial.state != "running" for trial in self._own())

    def _own(self) -> list[Trial]:
        return [trial for trial in self.study.trials() if trial.state != "copy"]

    def seconds_left(self) -> float:
        """Expected seconds until the end of the study, the proof included."""
        cost, trials = self.cost(), self._own()
        elapsed = sum(time.perf_counter() - start for _, start in self.running.values())
        proof = self.budget.proof_seconds(cost, self.study.rungs[-1])
        if self.budget.trials is None:
            work = self.budget.search_work(cost, self.study.rungs[-1]) - sum(trial.seconds for trial in trials)
        else:
            per_run = sum(cost.seconds(t.epochs) for t in trials) / max(1, len(trials))
            work = (self.total - self.num_ended) * per_run
        return max(0.0, work - elapsed) / self.budget.slots + proof

    def best(self) -> str:
        """The best plan so far, in the longest runs that there are; empty if no run has ended well."""
        ended = best_trials(self.study.trials(), self.study.goal.mode == "min")
        if not ended:
            return ""
        trial = ended[0]
        names = " + ".join(self.study.space.techniques_of(trial.params)) or "no technique"
        value = f"{self.study.goal.monitor} {trial.value:.4f}"
        return f"best so far: plan {trial.plan} ({value} after {trial.epochs} epochs): {names}"

    def __str__(self) -> str:
        left = format_duration(self.seconds_left())
        counts = f"search: {self.num_ended} of about {self.total} runs ended, {len(self.running)} running"
        return "; ".join(filter(None, [f"{counts}, about {left} left with the proof", self.best()]))


def best_trials(trials: Sequence[Trial], minimize: bool) -> list[Trial]:
    """The longest run of each plan that has ended well, the best plans first: those of longer runs, then by their values.

    With several objectives, plans than which no other is better in all of them come before the others.
    """
    longest: dict[int, Trial] = {}
    for trial in trials:
        if trial.state == "done" and trial.value is not None:
            other = longest.get(trial.plan)
            if other is None or trial.epochs > other.epochs:
                longest[trial.plan] = trial
    sign = 1 if minimize else -1
    points = {t.plan: (sign * (t.value or 0.0), *t.others) for t in longest.values()}

    def is_dominated(trial: Trial) -> bool:
        own = points[trial.plan]
        return bool(trial.others) and any(p != own and all(a <= b for a, b in zip(p, own, strict=True)) for p in points.values())

    return sorted(longest.values(), key=lambda t: (-t.epochs, is_dominated(t), points[t.plan], t.plan))


def describe_trials(trials: Sequence[Trial], study: SearchStudy) -> list[dict[str, Any]]:
    """What tune.json has of each run of the search."""
    return [
        {
            "plan": trial.plan,
            "epochs": trial.epochs,
            "techniques": study.space.techniques_of(trial.params),
            "params": dict(trial.params),
            "overrides": list(trial.overrides),
            "status": trial.state,
            "value": trial.value if trial.state == "done" else None,
            "others": list(trial.others) if trial.state == "done" else [],
            "seconds": round(trial.seconds, 1),
            "error": trial.error,
            "folder": trial.run_name,
        }
        for trial in trials
        if trial.state != "copy"
    ]


def study_folder(name: str) -> Path:
    """The folder of all files of a study."""
    from regulo.analysis.tuning.arguments import ROOT

    return (ROOT / name).absolute()
