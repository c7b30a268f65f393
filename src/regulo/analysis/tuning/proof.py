"""The proof: the best plans of the search, the default plan and none, each again with fresh seeds.

The search has chosen the luckiest of many runs, so its own numbers promise too much (the winner's curse). Fresh runs have no such
bias. The recommended plan is chosen by their validation scores. The test scores are read once, after that.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from regulo.analysis.ablation.statistics import ERROR, differences
from regulo.analysis.launchers.runs import PlannedRun
from regulo.analysis.study_record import Column, Difference, metric_column
from regulo.analysis.tuning.search import best_trials
from regulo.analysis.tuning.study import SearchStudy, Trial
from regulo.core.metrics.base import list_metrics
from regulo.regularizers.base import Goal

DEFAULT, NONE = "default", "none"
"""the labels of the plan that is tuned, and of no regularization"""


@dataclass(frozen=True)
class ProofPlan:
    """A plan that is run with fresh seeds."""

    label: str
    overrides: tuple[str, ...]
    techniques: tuple[str, ...]
    trial: Trial | None
    """its longest run in the search; None if it has none"""


@dataclass(frozen=True)
class ProofRun(PlannedRun):
    """A run of a plan with a fresh seed."""

    label: str
    seed: int

    @property
    def condition(self) -> str:
        """The plan."""
        return self.label


def choose_plans(study: SearchStudy, count: int) -> list[ProofPlan]:
    """The default plan, none, and the best plans of the search; the default plan is not there twice."""
    trials = study.trials()
    default = next((t for t in best_trials(trials, True) if t.plan == 0), None) if study.default is not None else None
    base = tuple(sorted(study.space.base))
    nothing = tuple(f"~regularizer.{name}" for name in study.space.base)
    plans = [ProofPlan(DEFAULT, (), base, default), *([ProofPlan(NONE, nothing, (), None)] if nothing else [])]
    others = [t for t in best_trials(trials, study.goal.mode == "min") if set(t.overrides) not in (set(), set(nothing))]
    for trial in others[:count]:
        techniques = tuple(study.space.techniques_of(trial.params))
        plans.append(ProofPlan(f"plan {trial.plan}", trial.overrides, techniques, trial))
    return plans


def plan_proof_runs(
    plans: Sequence[ProofPlan], base: Sequence[str], first_seed: int, seeds: int, max_epochs: int, root: Path
) -> list[ProofRun]:
    """The runs of the proof, seed by seed. Seeds begin after that of the search."""
    runs = []
    for seed in range(first_seed + 1, first_seed + 1 + seeds):
        for plan in plans:
            overrides = (*base, *plan.overrides, f"trainer.max_epochs={max_epochs}", f"seed={seed}")
            name = f"proof-{plan.label.replace(' ', '-')}-s{seed}"
            runs.append(ProofRun(root / name, overrides, plan.label, seed))
    return runs


# ---- what it says


@dataclass(frozen=True)
class ProofResult:
    """What fresh runs say of the plans."""

    plans: Sequence[ProofPlan]
    """those with a finished run; only plans that finished with every seed can be the best or recommended"""
    columns: Sequence[Column]
    values: dict[str, dict[str, list[float | None]]]
    """by the label of a plan and the key of a column, a value for each seed"""
    best: str
    """the plan with the best validation score"""
    recommended: str
    """the simplest plan that is not clearly worse than the best"""
    to_best: dict[str, Difference]
    """validation score minus that of the best plan"""
    to_default: dict[str, dict[str, Difference]]
    """by plan and column, the difference to the default plan; empty if a run of that has not ended well"""

    def mean(self, label: str, key: str) -> float | None:
        """The mean of a plan over its seeds; None if no run has ended well."""
        values = [v for v in self.values[label][key] if v is not None]
        return statistics.fmean(values) if values else None


def columns_of(goal: Goal) -> list[Column]:
    """What the proof reports: the monitor, test accuracy and loss, the monitor's metric on the test images, the gap, the time."""
    metrics = {metric.name: metric for metric in list_metrics()}
    name = goal.monitor.partition("/")[2]
    monitor = metric_column(metrics[name])
    tests = [metric_column(metrics[n]) for n in dict.fromkeys(("acc", "loss", name))]
    return [
        dataclasses.replace(monitor, key=goal.monitor, label=monitor.label.replace("test", "validation", 1)),
        *tests,
        Column("gap/acc", "gap train − validation", "points", "low", 100, 2),
        Column("epoch_seconds", "time per epoch", "s", "low", 1, 2),
    ]


COST = "epoch_seconds"


def evaluate_proof(plans: Sequence[ProofPlan], runs: Sequence[ProofRun], goal: Goal) -> ProofResult | None:
    """What the finished runs say; None if fewer than two plans have finished with every seed.

    A plan that diverged with one of the seeds is no good plan, and means over other seeds cannot be compared.
    """
    columns = columns_of(goal)
    seeds = sorted({run.seed for run in runs})
    results = {(run.label, run.seed): run.result() if run.state() == "done" else {} for run in runs}
    values = {
        plan.label: {c.key: [_finite(results.get((plan.label, seed), {}).get(c.key)) for seed in seeds] for c in columns}
        for plan in plans
    }
    plans = [plan for plan in plans if any(v is not None for v in values[plan.label][goal.monitor])]
    whole = [plan for plan in plans if None not in values[plan.label][goal.monitor]]
    if len(whole) < 2:
        return None
    labels = [plan.label for plan in whole]
    sign = 1 if goal.mode == "min" else -1
    scores = {label: sign * statistics.fmean(v for v in values[label][goal.monitor] if v is not None) for label in labels}
    best = min(labels, key=lambda label: scores[label])
    to_best = _compare(values, [best, *(label for label in labels if label != best)], goal.monitor, ERROR)
    recommended = _simplest(whole, scores, to_best, best)
    compared = [c for c in columns if c.key not in (COST, goal.monitor)]
    to_default: dict[str, dict[str, Difference]] = {label: {} for label in labels if label != DEFAULT}
    for column in compared if labels[0] == DEFAULT else ():
        for label, difference in _compare(values, labels, column.key, ERROR / len(compared)).items():
            to_default[label][column.key] = difference
    return ProofResult(plans, columns, values, best, recommended, to_best, to_default)


def _compare(values: dict[str, Any], labels: Sequence[str], key: str, error: float) -> dict[str, Difference]:
    """The differences of plans to the first one, by label, with simultaneous intervals."""
    table = np.array([values[label][key] for label in labels], float)
    found = differences(table, error)
    return {label: difference for label, difference in zip(labels[1:], found, strict=True) if difference}


def _simplest(plans: Sequence[ProofPlan], scores: dict[str, float], to_best: dict[str, Difference], best: str) -> str:
    """The plan with the fewest techniques of those that are not clearly worse than the best.

    Of plans with as many, the default plan, which changes nothing; else the one with the best score (low is good).
    """

    def is_close(label: str) -> bool:
        difference = to_best.get(label)
        return difference is not None and difference.low is not None and not difference.significant

    def order(plan: ProofPlan) -> tuple[int, bool, float]:
        return len(plan.techniques), plan.label != DEFAULT, scores[plan.label]

    return min((plan for plan in plans if plan.label == best or is_close(plan.label)), key=order).label


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
