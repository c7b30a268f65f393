"""Differences to the base, with intervals that hold together.

A number is modelled as condition + seed + noise (`regulo.analysis.anova`), with one noise for all cells, so that every cell helps
to measure it. The difference of a cell to the base is the mean over the seeds that both have; its standard error is √(2 σ² / n).
Of the rows of one column, many are compared with one: Dunnett (1955), doi:10.1080/01621459.1955.10501294, gives the critical
value at which *any* of their intervals misses with the wanted probability. Columns share that probability (Bonferroni).

Own code, because scipy's `dunnett` compares independent groups (one-way) and has no seeds in its model: it would take the
differences between seeds for noise, and it needs every number.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from regulo.analysis.anova import residual_variance

ERROR = 0.05
"""probability that any mark of a table is wrong, if nothing makes a difference"""


@dataclass(frozen=True)
class Difference:
    """A mean of n differences, and its interval; without one, if the noise could not be measured."""

    n: int
    mean: float
    low: float | None
    high: float | None

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**dataclasses.asdict(self), "clear": self.significant}


def differences(table: np.ndarray, error: float) -> list[Difference | None]:
    """Of a table (cells, seeds), nan where missing, the other rows minus the first; None for a row that shares no seed with it.

    With probability 1 − `error` all intervals cover.
    """
    paired = table[1:] - table[:1]
    there = ~np.isnan(paired)
    counts = there.sum(1)
    known = counts > 0
    variance, freedom = residual_variance(table[np.r_[True, known]])
    t = dunnett(int(known.sum()), freedom, error, _correlation(there[known])) if freedom and known.any() else math.nan
    return [
        _difference(row[mask], t * math.sqrt(2 * variance / n)) if n else None
        for row, mask, n in zip(paired, there, counts.tolist(), strict=True)
    ]


def interactions(table: np.ndarray, pairs: Sequence[tuple[int, int, int]], error: float) -> list[Difference | None]:
    """AB − A − B + base for the rows (A, B, AB) of a table (cells, seeds) whose first is the base: what two do beyond their sum.

    With probability 1 − `error` all intervals cover (Bonferroni); the standard error is √(4 σ² / n).
    """
    from scipy.stats import t as student

    variance, freedom = residual_variance(table)
    t = float(student.isf(error / (2 * max(1, len(pairs))), freedom)) if freedom else math.nan
    found: list[Difference | None] = []
    for a, b, both in pairs:
        values = table[both] - table[a] - table[b] + table[0]
        values = values[~np.isnan(values)]
        found.append(_difference(values, t * math.sqrt(4 * variance / len(values))) if len(values) else None)
    return found


def _difference(values: np.ndarray, half: float) -> Difference:
    mean = float(values.mean())
    return Difference(len(values), mean, *((None, None) if math.isnan(half) else (mean - half, mean + half)))


def _correlation(there: np.ndarray) -> float:
    """The least correlation of two rows' differences: 1/2 where no seed is missing (with less, intervals are wider, and safe)."""
    counts = there.sum(1)
    shared = [(i & j).sum() / (2 * math.sqrt(i.sum() * j.sum())) for i, j in itertools.combinations(there, 2)]
    return float(min(shared, default=0.5)) if len(counts) else 0.5


@cache
def dunnett(k: int, freedom: int, error: float, correlation: float = 0.5) -> float:
    """The c for which |T_i| > c for any of k Student statistics of a common correlation has probability `error`."""
    from scipy.optimize import brentq

    return float(brentq(lambda c: any_beyond(c, k, freedom, correlation) - error, 0.0, 1e4, xtol=1e-6))


@cache
def _legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the integral over [−1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes, weights


def any_beyond(c: float, k: int, freedom: int, correlation: float = 0.5) -> float:
    """P(max_i |T_i| > c) for T_i = (√(1−ρ) Z_i + √ρ Z_0) / S with standard normal Z and S² ~ χ²_ν / ν.

    Given Z_0 and S the T_i are independent, which leaves a double integral: over Z_0 by the trapezoidal rule, over the quantiles
    of S by Gauss and Legendre.
    """
    from scipy.special import gammaincinv, ndtr

    nodes, weights = _legendre(200)
    s = np.sqrt(2 * gammaincinv(freedom / 2, (nodes + 1) / 2) / freedom)[:, None]
    z = np.linspace(-8.5, 8.5, 171)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    shift, scale = math.sqrt(correlation) * z, math.sqrt(1 - correlation)
    inside = (ndtr((c * s - shift) / scale) - ndtr((-c * s - shift) / scale)) ** k
    return 1 - float((weights / 2) @ (inside @ density))
