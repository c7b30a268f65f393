"""What a claim is: a statement, the trials that could refute it, and the verdict that follows from their numbers."""

import dataclasses
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ClaimVerdict = Literal["holds", "holds with a limit", "undecided", "fails"]
Numbers = dict[str, Any]


@dataclass(frozen=True)
class ClaimTrial:
    """One independent measurement. Its settings are plain data: a finished trial is not repeated unless they change."""

    name: str
    settings: Numbers
    numbers: Numbers = dataclasses.field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        """A setting or a measured number."""
        return self.settings[key] if key in self.settings else self.numbers[key]


@dataclass(frozen=True)
class ClaimRow:
    """A line of a claim's table: the values of one condition, one per seed (or per case)."""

    label: str
    values: Sequence[float]
    fmt: str = ".4f"

    def cells(self) -> tuple[str, str, str, str]:
        """Label, n, mean and spread (sample standard deviation; a dash for one value)."""
        spread = format(statistics.stdev(self.values), self.fmt) if len(self.values) > 1 else "–"
        return self.label, str(len(self.values)), format(statistics.fmean(self.values), self.fmt), spread


@dataclass(frozen=True)
class ClaimResult:
    """What the trials say."""

    verdict: ClaimVerdict
    evidence: str  # the measured number in a sentence
    rows: Sequence[ClaimRow]


class Claim(ABC):
    """One claim of the lesson."""

    number: ClassVar[int]
    statement: ClassVar[str]
    """what is claimed, so that it could fail"""
    lesson: ClassVar[str]
    """the lesson's wording in our words, and where it is loose"""
    reference: ClassVar[str]
    """who showed it"""
    method: ClassVar[str]
    """how it is tried here, and what would refute it"""

    @property
    def name(self) -> str:
        """The file's name, by which the command line knows it."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def trials(self, quick: bool) -> list[ClaimTrial]:
        """What is to be measured; `quick` makes do with one seed and coarser grids."""

    @abstractmethod
    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        """The numbers of one trial, as plain data. Runs go below `folder`."""

    @abstractmethod
    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        """The verdict that the numbers of all trials force."""

    @abstractmethod
    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        """A picture of the numbers."""


def group_by(trials: Iterable[ClaimTrial], key: str) -> dict[Any, list[ClaimTrial]]:
    """The trials by one of their settings, in the order of their first appearance."""
    groups: dict[Any, list[ClaimTrial]] = {}
    for trial in trials:
        groups.setdefault(trial[key], []).append(trial)
    return groups


def mean(trials: Iterable[ClaimTrial], key: str) -> float:
    """The mean of a number over trials."""
    return statistics.fmean(t[key] for t in trials)
