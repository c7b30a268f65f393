"""What a class says about the search for good settings: which of its fields, over which range, on which scale.

A class declares a `SearchSpace` beside its fields. Nothing is searched unless a tool asks for it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Condition = Literal["always", "pretrained weights", "imbalanced classes"]
"""what a run must have, so that a technique is of use"""


@dataclass(frozen=True)
class Between:
    """All numbers from `low` to `high`, whole numbers if both are; `log`: ratios count, not differences."""

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def include(self, value: float) -> "Between":
        """The range with a value, which may lie outside of it."""
        if self.log and value <= 0:
            return self
        kind = int if self.is_whole and float(value).is_integer() else float
        return Between(kind(min(self.low, value)), kind(max(self.high, value)), self.log)

    def at(self, share: float) -> float:
        """The number at a share in [0, 1) of the range."""
        if self.is_whole:
            return int(self.low) + math.floor(share * (self.high - self.low + 1))
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class Times:
    """From `low` to `high` times the value that the run has, by ratios: for what depends on the model and the optimizer."""

    low: float
    high: float

    def around(self, value: float) -> Between:
        """The range for a value above 0."""
        return Between(value * self.low, value * self.high, log=True)


@dataclass(frozen=True)
class Choice:
    """One of a few values: words, numbers or booleans."""

    options: tuple[Any, ...]

    def include(self, value: Any) -> "Choice":
        """The choice with a value, which may be a new one."""
        return self if value in self.options else Choice((*self.options, value))

    def at(self, share: float) -> Any:
        """The option at a share in [0, 1) of the list."""
        return self.options[math.floor(share * len(self.options))]


Domain = Between | Choice
"""the values of a setting that a search tries"""


@dataclass(frozen=True)
class SearchSpace:
    """What is searched of a class, and what is known before."""

    prior: float = 0.0
    """of a technique: how probable it is that a good plan has it, from practice; 0: it is searched only if somebody names it"""
    fields: Mapping[str, Between | Times | Choice] = field(default_factory=dict)
    """by field, its values; the other fields stay as they are"""
    condition: Condition = "always"
    """without it, the technique is left out"""
    why_not: str = ""
    """a reason why it is never searched; empty: it can be"""
