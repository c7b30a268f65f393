"""A claim that is tried by training under several conditions, with the same seeds."""

import statistics
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from regulo.claims.base import Claim, Numbers, Row, Trial, by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KEPT = (
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


class Comparison(Claim):
    """Runs of `regulo train` under named conditions."""

    seeds: ClassVar[int] = 3
    shown: ClassVar[tuple[str, str]] = ("test/acc", "test accuracy (%)")
    """the number that is drawn, and its name"""

    @abstractmethod
    def conditions(self, quick: bool) -> dict[str, list[str]]:
        """The overrides of each condition, by its label."""

    def trials(self, quick: bool) -> list[Trial]:
        return [
            Trial(
                f"{label}-{seed}".replace(" ", "_").replace("/", "_"), {"condition": label, "seed": seed, "overrides": overrides}
            )
            for label, overrides in self.conditions(quick).items()
            for seed in range(1 if quick else self.seeds)
        ]

    def measure(self, trial: Trial, folder: Path) -> Numbers:
        from regulo.claims.lab.experiments import train

        result = train([*trial["overrides"], f"seed={trial['seed']}"], folder)
        return {key: result.get(key) for key in KEPT}

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        key, label = self.shown
        dots(trials, key, label, figure)


def values(trials: Sequence[Trial], key: str, factor: float = 100) -> dict[str, list[float]]:
    """A number under each condition, one value per seed."""
    return {label: [factor * t[key] for t in some] for label, some in by(trials, "condition").items()}


def rows(trials: Sequence[Trial], key: str, name: str = "", factor: float = 100, form: str = ".2f") -> list[Row]:
    """A row for each condition."""
    return [Row(f"{label}{name}", v, form) for label, v in values(trials, key, factor).items()]


def paired(trials: Sequence[Trial], key: str, one: str, other: str, factor: float = 100) -> list[float]:
    """The differences `one` − `other` of a number, seed by seed."""
    of = {(t["condition"], t["seed"]): factor * t[key] for t in trials}
    return [of[one, t["seed"]] - of[other, t["seed"]] for t in trials if t["condition"] == one]


def clearly_above(differences: Sequence[float], least: float = 0.0) -> bool:
    """Whether the mean of paired differences exceeds `least` by at least its standard error (one value: at all)."""
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
    return statistics.fmean(differences) - error > least


def told(differences: Sequence[float], form: str = "+.2f") -> str:
    """Mean ± spread."""
    spread = f" ± {statistics.stdev(differences):.2f}" if len(differences) > 1 else ""
    return f"{statistics.fmean(differences):{form}}{spread}"


def dots(trials: Sequence[Trial], key: str, label: str, figure: "Figure", factor: float = 100) -> None:
    """One line per condition: a dot for each seed, a bar at the mean."""
    axis: Any = figure.subplots()
    groups = values(trials, key, factor)
    for place, (_, some) in enumerate(groups.items()):
        axis.plot(some, [place] * len(some), "o", color="tab:blue", alpha=0.6)
        axis.plot([statistics.fmean(some)] * 2, [place - 0.3, place + 0.3], color="tab:red", linewidth=2)
    axis.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel=label)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
