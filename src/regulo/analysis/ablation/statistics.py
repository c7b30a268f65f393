"""Differences to the base, with simultaneous intervals.

A number is modeled as condition + seed + noise (`regulo.analysis.anova`), with one noise for all cells, so that every cell helps
to estimate it. The difference of a cell to the base is the mean over the seeds that both have; its standard error is √(2 σ² / n).
In each column many rows are compared with one: Dunnett (1955), doi:10.1080/01621459.1955.10501294, gives the critical
value at which *any* of their intervals misses with a given probability. Columns share that probability (Bonferroni).

Own code, because scipy's `dunnett` compares independent groups (one-way) and has no seeds in its model: it would take the
differences between seeds for noise, and it does not allow missing numbers.
"""

import itertools
import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from regulo.analysis.anova import residual_variance
from regulo.analysis.study_record import Difference

ERROR = 0.05
"""the probability of any mark in a table, if nothing makes a difference (the family-wise error)"""


def differences(table: np.ndarray, error: float) -> list[Difference | None]:
    """The other rows of a table (cells, seeds), nan where missing, minus the first; None for a row that shares no seed with it.

    With probability 1 − `error` all intervals cover their true difference.
    """
    row_differences = table[1:] - table[:1]
    present = ~np.isnan(row_differences)
    counts = present.sum(1)
    nonempty = counts > 0
    variance, freedom = residual_variance(table[np.r_[True, nonempty]])
    t = math.nan
    if freedom and nonempty.any():
        t = dunnett(int(nonempty.sum()), freedom, error, _min_correlation(present[nonempty]))
    return [
        _difference(row[mask], t * math.sqrt(2 * variance / n)) if n else None
        for row, mask, n in zip(row_differences, present, counts.tolist(), strict=True)
    ]


def interactions(table: np.ndarray, pairs: Sequence[tuple[int, int, int]], error: float) -> list[Difference | None]:
    """AB − A − B + base for the rows (A, B, AB) of a table (cells, seeds) whose first row is the base: the effect beyond the sum.

    With probability 1 − `error` all intervals cover their true value (Bonferroni); the standard error is √(4 σ² / n).
    """
    from scipy.stats import t as student

    variance, freedom = residual_variance(table)
    t = float(student.isf(error / (2 * max(1, len(pairs))), freedom)) if freedom else math.nan
    results: list[Difference | None] = []
    for a, b, both in pairs:
        values = table[both] - table[a] - table[b] + table[0]
        values = values[~np.isnan(values)]
        results.append(_difference(values, t * math.sqrt(4 * variance / len(values))) if len(values) else None)
    return results


def _difference(values: np.ndarray, half: float) -> Difference:
    """The mean of values (n,), plus and minus half the width of the interval; nan if there is none."""
    mean = float(values.mean())
    return Difference(len(values), mean, *((None, None) if math.isnan(half) else (mean - half, mean + half)))


def _min_correlation(present: np.ndarray) -> float:
    """The least correlation of two rows' differences, from where they have numbers (rows, seeds): 1/2 where no seed is missing.

    The least gives the widest intervals, so that none is too narrow.
    """
    correlations = [(i & j).sum() / (2 * math.sqrt(i.sum() * j.sum())) for i, j in itertools.combinations(present, 2)]
    return float(min(correlations, default=0.5))


@cache
def dunnett(k: int, freedom: int, error: float, correlation: float = 0.5) -> float:
    """The critical value c: any of k Student statistics T_i of this correlation has |T_i| > c with probability `error`."""
    from scipy.optimize import brentq

    return float(brentq(lambda c: any_beyond(c, k, freedom, correlation) - error, 0.0, 1e4, xtol=1e-6))


@cache
def _legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (n,) and weights (n,) of the Gauss–Legendre rule for the integral over [−1, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return nodes, weights


def any_beyond(c: float, k: int, freedom: int, correlation: float = 0.5) -> float:
    """P(max_i |T_i| > c) for T_i = (√(1−ρ) Z_i + √ρ Z_0) / S with standard normal Z and S² ~ χ²_ν / ν.

    With Z_0 and S fixed the T_i are independent, so that a double integral is left: over Z_0 by the trapezoidal rule, over the
    quantiles of S by the Gauss–Legendre rule.
    """
    from scipy.special import gammaincinv, ndtr

    nodes, weights = _legendre(200)
    s = np.sqrt(2 * gammaincinv(freedom / 2, (nodes + 1) / 2) / freedom)[:, None]
    z = np.linspace(-8.5, 8.5, 171)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    shift, scale = math.sqrt(correlation) * z, math.sqrt(1 - correlation)
    inside = (ndtr((c * s - shift) / scale) - ndtr((-c * s - shift) / scale)) ** k
    return 1 - float((weights / 2) @ (inside @ density))
