"""Intervals of means over folds."""

import math
from collections.abc import Sequence

import numpy as np

from regulo.analysis.study_record import Difference

ERROR = 0.05
"""the probability that an interval does not have the true value"""
METHOD = (
    "Intervals are 95% intervals of Student's t over the folds. The runs of two folds share training images, so their scores are "
    "not independent: the variance of the mean is not s²/k but s² (1/k + test images / training images) (Nadeau & Bengio 2003, "
    "Inference for the Generalization Error). Each interval stands for itself: with many columns, one may be wrong by chance."
)


def mean_interval(values: Sequence[float], test_share: float, limits: tuple[float, float] = (-math.inf, math.inf)) -> Difference:
    """The mean of a number of each fold (k,), or of a difference of two plans in each fold, and its 95% interval.

    test_share: test images over training images of a fold. The interval is the corrected resampled t (Nadeau & Bengio 2003);
    with one fold there is none. limits: the lowest and the highest value that is possible; the interval ends there.
    """
    from scipy.stats import t as student

    k, mean = len(values), float(np.mean(values))
    if k < 2:
        return Difference(k, mean, None, None)
    half = float(student.isf(ERROR / 2, k - 1)) * math.sqrt((1 / k + test_share) * float(np.var(values, ddof=1)))
    return Difference(k, mean, max(mean - half, limits[0]), min(mean + half, limits[1]))
