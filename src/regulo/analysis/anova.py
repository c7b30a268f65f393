"""Numbers under several conditions with the same seeds: number = condition + seed + noise."""

import numpy as np


def residual_variance(table: np.ndarray) -> tuple[float, int]:
    """The noise's variance and its degrees of freedom, from numbers (conditions, seeds), nan where one is missing.

    It is what least squares leave of the numbers without an effect for each condition and one for each seed (two-way analysis of
    variance without interaction); of a whole table, (conditions − 1)(seeds − 1) degrees. Without any, the variance is nan.
    """
    rows, columns = np.nonzero(~np.isnan(table))
    effects = np.zeros((len(rows), sum(table.shape)))
    effects[np.arange(len(rows)), rows] = 1
    effects[np.arange(len(rows)), table.shape[0] + columns] = 1
    numbers = table[rows, columns]
    if not len(numbers):
        return float("nan"), 0
    fitted, _, rank, _ = np.linalg.lstsq(effects, numbers, rcond=None)
    left = numbers - effects @ fitted
    freedom = len(numbers) - int(rank)
    return (float(left @ left) / freedom if freedom else float("nan")), freedom
