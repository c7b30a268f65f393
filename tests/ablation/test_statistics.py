"""Intervals: against scipy and published tables, and the family-wise error by simulation."""

import math

import numpy as np
import pytest

from regulo.analysis.ablation.statistics import ERROR, any_beyond, differences, dunnett, interactions
from regulo.analysis.anova import residual_variance


@pytest.mark.parametrize(
    ("k", "freedom", "published"),
    [(1, 10, 2.228), (2, 10, 2.57), (4, 10, 2.89), (5, 10, 2.99), (2, 5, 3.03), (4, 5, 3.48), (3, 20, 2.54), (5, 20, 2.73)],
)
def test_the_critical_value_is_the_published_one(k: int, freedom: int, published: float) -> None:
    """Dunnett (1964), doi:10.2307/2528490, table II: two-sided, joint confidence 95%; k = 1 is Student's t."""
    assert dunnett(k, freedom, 0.05) == pytest.approx(published, abs=0.011)


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_the_probability_is_that_of_scipys_dunnett(shift: float) -> None:
    from scipy.stats import dunnett as reference

    rng = np.random.default_rng(3)
    control, *others = (rng.standard_normal(6) for _ in range(5))
    others[2] += shift
    result = reference(*others, control=control, random_state=0)
    for statistic, p in zip(result.statistic, result.pvalue, strict=True):
        assert any_beyond(abs(float(statistic)), 4, 25) == pytest.approx(float(p), abs=3e-3)


@pytest.mark.parametrize(("error", "freedom"), [(0.05 / 9, 8), (0.05 / 9, 2), (0.001, 4)])
def test_one_row_is_students_t_also_far_in_the_tail(error: float, freedom: int) -> None:
    from scipy.stats import t

    assert dunnett(1, freedom, error) == pytest.approx(t.isf(error / 2, freedom), rel=1e-3)
    assert dunnett(6, freedom, error, 0.2) > dunnett(6, freedom, error, 0.5), "less correlated rows need more"


def test_the_noise_is_that_of_the_two_way_analysis_of_variance() -> None:
    table = np.random.default_rng(0).standard_normal((4, 3)) + np.arange(3) * 10 + np.arange(4)[:, None] * 100
    residuals = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    variance, freedom = residual_variance(table)
    assert freedom == 6
    assert variance == pytest.approx((residuals**2).sum() / 6)
    table[2, 1] = math.nan
    assert residual_variance(table)[1] == 5
    assert math.isnan(residual_variance(table[:1])[0])
    assert residual_variance(np.full((2, 2), math.nan))[1] == 0


def test_two_cells_are_the_paired_t_test() -> None:
    from scipy.stats import ttest_rel

    table = np.array([[1.0, 2.0, 3.0, 2.5], [1.5, 2.2, 3.9, 3.1]])
    (difference,) = differences(table, 0.05)
    reference = ttest_rel(table[1], table[0]).confidence_interval(0.95)
    assert difference is not None
    assert (difference.n, difference.mean) == (4, pytest.approx(0.55))
    assert (difference.low, difference.high) == (pytest.approx(reference.low, rel=1e-3), pytest.approx(reference.high, rel=1e-3))


def test_missing_seeds_pair_what_is_left() -> None:
    table = np.array([[1.0, 2.0, 4.0], [2.0, math.nan, 5.5], [math.nan] * 3, [0.0, 1.5, 3.0]])
    first, second, third = differences(table, 0.05)
    assert first is not None
    assert third is not None
    assert (first.n, first.mean) == (2, 1.25)
    assert second is None
    assert third.n == 3
    assert differences(table * math.nan, 0.05) == [None] * 3


def test_one_seed_has_a_difference_and_no_interval_and_no_mark() -> None:
    (difference,) = differences(np.array([[1.0], [3.0]]), 0.05)
    assert difference is not None
    assert (difference.n, difference.mean, difference.low, difference.high, difference.significant) == (1, 2.0, None, None, False)


def test_numbers_that_are_all_alike_are_no_difference() -> None:
    assert [d.significant for d in differences(np.ones((3, 3)) * [0.1, 0.2, 0.3], 0.05) if d] == [False, False]


def test_interactions_are_what_two_do_beyond_their_sum() -> None:
    table = np.array([[0.0, 1.0, 2.1], [1.0, 2.1, 3.0], [2.0, 3.0, 4.1], [9.0, 10.0, 11.1]])
    (difference,) = interactions(table, [(1, 2, 3)], 0.05)
    assert difference is not None
    assert difference.mean == pytest.approx(np.mean(table[3] - table[1] - table[2] + table[0]))
    assert difference.significant
    variance, freedom = residual_variance(table)
    from scipy.stats import t

    assert difference.high is not None
    assert difference.high - difference.mean == pytest.approx(t.isf(0.025, freedom) * math.sqrt(4 * variance / 3))


def share_with_mark(effect: float, tables: int, seed: int) -> float:
    """Share of tables with any mark: 5 cells, 3 seeds, 8 columns that resemble each other, one cell off by `effect` sigmas."""
    rng, count = np.random.default_rng(seed), 0
    for _ in range(tables):
        common = rng.standard_normal((5, 3))
        seeds = rng.standard_normal((1, 3))
        for column in range(8):
            table = seeds + (common + rng.standard_normal((5, 3))) / math.sqrt(2)
            table[3] += effect * (column == 0)
            if any(d is not None and d.significant for d in differences(table, ERROR / 8)):
                count += 1
                break
    return count / tables


def test_if_nothing_makes_a_difference_few_tables_have_a_mark() -> None:
    tables = 600
    assert share_with_mark(0.0, tables, 1) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)


def test_a_large_difference_is_seen() -> None:
    assert share_with_mark(8.0, 60, 2) > 0.9
