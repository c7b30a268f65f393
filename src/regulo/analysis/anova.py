"""Numbers under several conditions with the same seeds: number = condition + seed + noise."""

import numpy as np


def residual_variance(table: np.ndarray) -> tuple[float, int]:
    """The variance of the noise and its degrees of freedom, from numbers (conditions, seeds), nan where one is missing.

    The noise is what a least-squares fit leaves of the numbers, with an effect for each condition and one for each seed (two-way
    analysis of variance without interaction). A whole table has (conditions − 1)(seeds − 1) degrees of freedom. Without any, the
    variance is nan.
    """
    rows, columns = np.nonzero(~np.isnan(table))
    effects = np.zeros((len(rows), sum(table.shape)))
    effects[np.arange(len(rows)), rows] = 1
    effects[np.arange(len(rows)), table.shape[0] + columns] = 1
    numbers = table[rows, columns]
    if not len(numbers):
        return float("nan"), 0
    coefficients, _, rank, _ = np.linalg.lstsq(effects, numbers, rcond=None)
    residuals = numbers - effects @ coefficients
    freedom = len(numbers) - int(rank)
    return (float(residuals @ residuals) / freedom if freedom else float("nan")), freedom
