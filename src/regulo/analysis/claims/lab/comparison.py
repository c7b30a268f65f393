"""Claims that are tested by training under several conditions with the same seeds."""

import math
import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from regulo.analysis.anova import residual_variance
from regulo.analysis.claims.base import Claim, ClaimRow, ClaimTrial, ClaimVerdict, Numbers, group_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN_NUMBERS = (
    "status",
    "epochs",
    "best_epoch",
    "train_clean/acc",
    "val/acc",
    "val/loss",
    "test/acc",
    "test/loss",
    "test/ece",
    "gap/acc",
)
CLASSES = 10
CHANCE = dict.fromkeys(("train_clean/acc", "val/acc", "test/acc"), 1 / CLASSES) | {
    "val/loss": math.log(CLASSES),
    "test/loss": math.log(CLASSES),
    "test/ece": 0.0,
    "gap/acc": 0.0,
}
"""the numbers of a run that diverged: those of guessing"""


class Comparison(Claim):
    """Runs of `regulo train` under named conditions."""

    seeds: ClassVar[int] = 3
    plot_metric: ClassVar[tuple[str, str]] = ("test/acc", "test accuracy (%)")
    """the number that `draw` shows, and its label"""

    @abstractmethod
    def conditions(self, quick: bool) -> dict[str, list[str]]:
        """The overrides of each condition, by its label."""

    def trials(self, quick: bool) -> list[ClaimTrial]:
        settings = {label: {"overrides": overrides} for label, overrides in self.conditions(quick).items()}
        return trials_per_seed(settings, 1 if quick else self.seeds)

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        from regulo.analysis.claims.lab.experiments import train

        return run_numbers(train([*trial["overrides"], f"seed={trial['seed']}"], folder))

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        key, label = self.plot_metric
        plot_dots(trials, key, label, figure)


def trials_per_seed(conditions: Mapping[str, Numbers], seeds: int) -> list[ClaimTrial]:
    """A trial for each condition and seed. `conditions`: the settings by label."""
    return [
        ClaimTrial(f"{label}-{seed}".replace(" ", "_").replace("/", "_"), {"condition": label, "seed": seed, **settings})
        for label, settings in conditions.items()
        for seed in range(seeds)
    ]


def run_numbers(result: Numbers) -> Numbers:
    """The numbers of a run; those of guessing if it diverged."""
    if result["status"] == "done":
        return {key: result[key] for key in RUN_NUMBERS}
    return {"status": result["status"], **CHANCE}


@dataclass(frozen=True)
class Contrast:
    """The difference of two conditions per seed, and the bound above which its mean is significant."""

    differences: tuple[float, ...]
    bound: float
    """if the mean is beyond ± this, its sign is wrong in at most 1 of 20 cases (one-sided, per comparison)"""

    @property
    def mean(self) -> float:
        """The mean difference."""
        return statistics.fmean(self.differences)

    @property
    def above(self) -> bool:
        """Whether the first condition is significantly above the second."""
        return self.mean > self.bound

    @property
    def below(self) -> bool:
        """Whether the first condition is significantly below the second."""
        return self.mean < -self.bound

    @property
    def verdict(self) -> ClaimVerdict:
        """The verdict on the claim that the first condition is above the second."""
        return "holds" if self.above else "fails" if self.below else "undecided"

    def __str__(self) -> str:
        """Mean and bound."""
        return f"{self.mean:+.2f}" + (f" (± {self.bound:.2f})" if self.bound else "")


def contrast(trials: Sequence[ClaimTrial], key: str, first: str, second: str, factor: float = 100, tests: int = 1) -> Contrast:
    """`first` − `second` in a number times `factor`.

    The noise is estimated from *all* conditions: what remains of the number without the means of conditions and seeds. `tests`
    comparisons that are made together share the error of .05 (Bonferroni). With one seed the noise is unknown, the bound is 0,
    and any difference is significant.
    """
    from scipy.stats import t as student

    numbers = {(t["condition"], t["seed"]): factor * t[key] for t in trials}
    conditions, seeds = list(dict.fromkeys(c for c, _ in numbers)), list(dict.fromkeys(s for _, s in numbers))
    differences = tuple(numbers[first, s] - numbers[second, s] for s in seeds)
    if len(seeds) < 2:
        return Contrast(differences, 0.0)
    variance, dof = residual_variance(np.array([[numbers[c, s] for s in seeds] for c in conditions]))
    t = float(student.ppf(1 - 0.05 / tests, dof))
    return Contrast(differences, t * math.sqrt(variance * 2 / len(seeds)))


def values(trials: Sequence[ClaimTrial], key: str, factor: float = 100) -> dict[str, list[float]]:
    """A number under each condition, one value per seed."""
    return {label: [factor * t[key] for t in group] for label, group in group_by(trials, "condition").items()}


def means(trials: Sequence[ClaimTrial], key: str, factor: float = 100) -> dict[str, float]:
    """The mean of a number under each condition."""
    return {label: statistics.fmean(v) for label, v in values(trials, key, factor).items()}


def best_on_validation(trials: Sequence[ClaimTrial], prefix: str = "", exclude: Sequence[str] = ()) -> str:
    """The condition with the highest mean validation accuracy, of those whose label begins with `prefix`."""
    accuracy = means(trials, "val/acc")
    return max((c for c in accuracy if c.startswith(prefix) and c not in exclude), key=lambda c: accuracy[c])


def rows(trials: Sequence[ClaimTrial], key: str, name: str = "", factor: float = 100, fmt: str = ".2f") -> list[ClaimRow]:
    """A table row for each condition."""
    return [ClaimRow(f"{label}{name}", v, fmt) for label, v in values(trials, key, factor).items()]


def divergence_note(trials: Sequence[ClaimTrial]) -> str:
    """A remark that names the runs that diverged; empty if none did."""
    names = [t.name for t in trials if t.numbers.get("status") == "failed"]
    return f"; diverged, and counted as chance: {', '.join(names)}" if names else ""


def plot_dots(trials: Sequence[ClaimTrial], key: str, label: str, figure: "Figure", factor: float = 100) -> None:
    """Draw one line per condition, with a dot for each seed and a bar at the mean."""
    axis: Any = figure.subplots()
    groups = values(trials, key, factor)
    for y, group in enumerate(groups.values()):
        axis.plot(group, [y] * len(group), "o", color="tab:blue", alpha=0.6)
        axis.plot([statistics.fmean(group)] * 2, [y - 0.3, y + 0.3], color="tab:red", linewidth=2)
    axis.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel=f"{label}; dots: seeds, bars: means")
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
