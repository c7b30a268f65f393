"""A claim that is tried by training under several conditions, with the same seeds."""

import math
import statistics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from regulo.analysis.anova import residual_variance
from regulo.analysis.claims.base import Claim, ClaimRow, ClaimTrial, Numbers, ClaimVerdict, group_by

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
"""what a run that diverged is worth"""


class Comparison(Claim):
    """Runs of `regulo train` under named conditions."""

    seeds: ClassVar[int] = 3
    plot_metric: ClassVar[tuple[str, str]] = ("test/acc", "test accuracy (%)")
    """the number that is drawn, and its name"""

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
    """A trial for each seed under each condition, from the settings of each condition by its label."""
    return [
        ClaimTrial(f"{label}-{seed}".replace(" ", "_").replace("/", "_"), {"condition": label, "seed": seed, **settings})
        for label, settings in conditions.items()
        for seed in range(seeds)
    ]


def run_numbers(result: Numbers) -> Numbers:
    """The numbers of a run; those of chance if it diverged."""
    if result["status"] == "done":
        return {key: result[key] for key in RUN_NUMBERS}
    return {"status": result["status"], **CHANCE}


@dataclass(frozen=True)
class Contrast:
    """The difference of two conditions, seed by seed, and how large it must be to be told from noise."""

    differences: tuple[float, ...]
    bound: float
    """half-width: with a mean beyond ± this, the sign is wrong in at most 1 of 20 cases (one-sided, per comparison)"""

    @property
    def mean(self) -> float:
        """The mean difference."""
        return statistics.fmean(self.differences)

    @property
    def above(self) -> bool:
        """Whether the first condition is clearly above the second."""
        return self.mean > self.bound

    @property
    def below(self) -> bool:
        """Whether it is clearly below."""
        return self.mean < -self.bound

    @property
    def verdict(self) -> ClaimVerdict:
        """On the claim that the first condition is above the second."""
        return "holds" if self.above else "fails" if self.below else "undecided"

    def __str__(self) -> str:
        """Mean and bound."""
        return f"{self.mean:+.2f}" + (f" (± {self.bound:.2f})" if self.bound else "")


def contrast(trials: Sequence[ClaimTrial], key: str, one: str, other: str, factor: float = 100, tests: int = 1) -> Contrast:
    """`one` − `other`, with the noise of *all* conditions: what is left of a number without the means of condition and seed.

    Of `tests` comparisons that are made together, each gets a share of the error (Bonferroni). With one seed there is no noise to
    be seen, and any difference counts.
    """
    from scipy.stats import t as student

    of = {(t["condition"], t["seed"]): factor * t[key] for t in trials}
    conditions, seeds = list(dict.fromkeys(c for c, _ in of)), list(dict.fromkeys(s for _, s in of))
    differences = tuple(of[one, s] - of[other, s] for s in seeds)
    if len(seeds) < 2:
        return Contrast(differences, 0.0)
    variance, freedom = residual_variance(np.array([[of[c, s] for s in seeds] for c in conditions]))
    t = float(student.ppf(1 - 0.05 / tests, freedom))
    return Contrast(differences, t * math.sqrt(variance * 2 / len(seeds)))


def values(trials: Sequence[ClaimTrial], key: str, factor: float = 100) -> dict[str, list[float]]:
    """A number under each condition, one value per seed."""
    return {label: [factor * t[key] for t in some] for label, some in group_by(trials, "condition").items()}


def means(trials: Sequence[ClaimTrial], key: str, factor: float = 100) -> dict[str, float]:
    """The mean of a number under each condition."""
    return {label: statistics.fmean(v) for label, v in values(trials, key, factor).items()}


def rows(trials: Sequence[ClaimTrial], key: str, name: str = "", factor: float = 100, fmt: str = ".2f") -> list[ClaimRow]:
    """A row for each condition."""
    return [ClaimRow(f"{label}{name}", v, fmt) for label, v in values(trials, key, factor).items()]


def divergence_note(trials: Sequence[ClaimTrial]) -> str:
    """A remark on runs that diverged, which count as chance."""
    some = [t.name for t in trials if t.numbers.get("status") == "failed"]
    return f"; diverged, and counted as chance: {', '.join(some)}" if some else ""


def plot_dots(trials: Sequence[ClaimTrial], key: str, label: str, figure: "Figure", factor: float = 100) -> None:
    """One line per condition: a dot for each seed, a bar at the mean."""
    axis: Any = figure.subplots()
    groups = values(trials, key, factor)
    for place, (_, some) in enumerate(groups.items()):
        axis.plot(some, [place] * len(some), "o", color="tab:blue", alpha=0.6)
        axis.plot([statistics.fmean(some)] * 2, [place - 0.3, place + 0.3], color="tab:red", linewidth=2)
    axis.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel=f"{label}; dots: seeds, bars: means")
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
