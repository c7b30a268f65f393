"""What a claim is: a statement, the trials that can refute it, and the verdict that follows from their numbers."""

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
"""what the trials say about a claim; "undecided": a difference is not significant in either direction"""
Numbers = dict[str, Any]
"""settings or measurements by name, as plain data that JSON can hold"""


@dataclass(frozen=True)
class ClaimTrial:
    """One independent measurement. A finished trial is repeated only if its settings change."""

    name: str
    """its file name below the claim's folder"""
    settings: Numbers
    numbers: Numbers = dataclasses.field(default_factory=dict)
    """what was measured; empty before that"""

    def __getitem__(self, key: str) -> Any:
        """A setting or a measurement."""
        return self.settings[key] if key in self.settings else self.numbers[key]


@dataclass(frozen=True)
class ClaimRow:
    """A row of a claim's table: the values of one condition, one per seed (or per case)."""

    label: str
    values: Sequence[float]
    fmt: str = ".4f"

    def cells(self) -> tuple[str, str, str, str]:
        """Label, n, mean and sample standard deviation (a dash for one value)."""
        spread = format(statistics.stdev(self.values), self.fmt) if len(self.values) > 1 else "–"
        return self.label, str(len(self.values)), format(statistics.fmean(self.values), self.fmt), spread


@dataclass(frozen=True)
class ClaimResult:
    """The verdict on a claim, with its evidence."""

    verdict: ClaimVerdict
    evidence: str
    """the numbers that decide, in one sentence"""
    rows: Sequence[ClaimRow]
    """the table of all numbers"""


class Claim(ABC):
    """One claim of the lesson."""

    number: ClassVar[int]
    """its place in the list of claims, from 1"""
    statement: ClassVar[str]
    """the claim, precise enough that it can fail"""
    lesson: ClassVar[str]
    """what the lesson says, and where that is not precise"""
    reference: ClassVar[str]
    """the papers that show it"""
    method: ClassVar[str]
    """how it is tested here, and what would refute it"""

    @property
    def name(self) -> str:
        """The name of the file, which is its name on the command line."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def trials(self, quick: bool) -> list[ClaimTrial]:
        """What to measure; `quick`: with one seed and coarser grids."""

    @abstractmethod
    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        """Measure one trial; returns plain data. Training runs go below `folder`."""

    @abstractmethod
    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        """The verdict that follows from the numbers of all trials."""

    @abstractmethod
    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        """Draw the numbers."""


def group_by(trials: Iterable[ClaimTrial], key: str) -> dict[Any, list[ClaimTrial]]:
    """The trials by one of their settings, in order of first appearance."""
    groups: dict[Any, list[ClaimTrial]] = {}
    for trial in trials:
        groups.setdefault(trial[key], []).append(trial)
    return groups


def mean(trials: Iterable[ClaimTrial], key: str) -> float:
    """The mean of a setting or a measurement over trials."""
    return statistics.fmean(t[key] for t in trials)
