"""What a study may cost, and what is kept for the proof.

Time is counted as work: the seconds of all runs, divided by the number of runs at once. A pause, a jump of the clock, or a
process that was killed changes nothing about it.
"""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from regulo.analysis.tuning.rungs import FACTOR, mean_epochs
from regulo.analysis.tuning.study import Trial
from regulo.core.errors import InputError, Problem
from regulo.core.text import format_duration

UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""seconds of each unit in `budget=`"""
MIN_PLANS = 9
"""plans that a search by time must be able to try: so many that the best third of the best third is one"""
MARGIN = 1.15
"""the proof is expected to take so much longer than its runs alone"""


def parse_duration(text: str) -> float:
    """Seconds in a text such as 90min, 2h or 1.5h. Raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)", text.strip())
    if not match or not float(match[1]):
        raise InputError(Problem("budget", f"{text!r} is not a time", "budget=2h, budget=90min"))
    return float(match[1]) * UNITS[match[2]]


@dataclass(frozen=True)
class Cost:
    """What runs take: seconds of one epoch, and seconds that a run takes besides."""

    epoch: float
    start: float

    def seconds(self, epochs: int) -> float:
        """Expected seconds of a run."""
        return self.start + self.epoch * epochs


@dataclass(frozen=True)
class Budget:
    """How much may be spent: seconds of the whole study, on all slots, or a number of plans that the search tries."""

    seconds: float | None
    trials: int | None
    slots: int
    proof_runs: int

    def search_work(self, cost: Cost, max_epochs: int) -> float:
        """Seconds of runs that the search may take; infinity without a limit."""
        return math.inf if self.seconds is None else (self.seconds - self.proof_seconds(cost, max_epochs)) * self.slots

    def proof_seconds(self, cost: Cost, max_epochs: int) -> float:
        """Expected seconds of the proof: its runs are all whole ones, and go in rounds of as many as there are slots."""
        return MARGIN * math.ceil(self.proof_runs / self.slots) * cost.seconds(max_epochs)

    def check(self, cost: Cost, rungs: Sequence[int], seeds: int) -> None:
        """Raises InputError if the time is too short for the least search and the proof."""
        if self.seconds is None:
            return
        rungs = tuple(rungs)
        least = MIN_PLANS * (cost.start * mean_epochs((1,) * len(rungs)) + cost.epoch * mean_epochs(rungs)) / self.slots
        least = max(least, sum(cost.seconds(epochs) for epochs in rungs))  # a plan has its runs one after the other
        proof = self.proof_seconds(cost, rungs[-1])
        if self.seconds < least + proof:
            enough = math.ceil((least + proof) / 60)
            what = (
                f"{format_duration(self.seconds)} is too short: the proof alone, {self.proof_runs} runs with {seeds} seeds, "
                f"takes about {format_duration(proof)}, and a search of {MIN_PLANS} plans {format_duration(least)}"
            )
            raise InputError(Problem("budget", what, f"budget={enough}min, or fewer seeds=, plans= or trainer.max_epochs="))


def estimate_cost(trials: Sequence[Trial], before: Cost) -> Cost:
    """What runs take, from those that have ended; before any has, `before`."""
    ended = [trial for trial in trials if trial.seconds and trial.state == "done"]
    if not ended:
        return before
    return Cost(statistics.median(max(t.seconds - before.start, 0.1 * t.seconds) / t.epochs for t in ended), before.start)


def spent_work(trials: Sequence[Trial], cost: Cost) -> float:
    """Seconds of all runs that have ended, and those that the running ones will have taken."""
    running = sum(cost.seconds(trial.epochs) for trial in trials if trial.state == "running")
    return sum(trial.seconds for trial in trials) + running


def expected_runs(trials: Sequence[Trial], budget: Budget, cost: Cost, rungs: Sequence[int]) -> int:
    """About how many runs the search will have."""
    rungs = tuple(rungs)
    per_plan = sum(FACTOR**-k for k in range(len(rungs)))
    if budget.trials is not None:
        return max(len(trials), round(budget.trials * per_plan))
    left = budget.search_work(cost, rungs[-1]) - spent_work(trials, cost)
    per_run = cost.start + cost.epoch * mean_epochs(rungs) / per_plan
    return len(trials) + max(0, math.floor(left / per_run))
