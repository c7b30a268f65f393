"""`regulo tune lr`: a learning-rate range test (Smith, 2017, arXiv:1506.01186, section 3.3) on the run's own plan.

The learning rate grows by the same factor at every step, from far too small to far too large, and the training loss is recorded.
The losses are smoothed, with the correction of the bias towards the start. Three rates are read from the curve:

    steepest      where the smoothed loss falls fastest by the logarithm of the rate
    valley        at two thirds of the longest fall of the smoothed loss (fastai's `valley`)
    recommended   the geometric mean of the steepest and of a tenth of the rate with the lowest loss

Weights, optimizer and random generators are those of copies: nothing of it is left.
"""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from regulo.core.errors import InputError, Problem

if TYPE_CHECKING:
    from regulo.training.build import RunComponents

FROM, TO = 1e-4, 100.0
"""the lowest and the highest learning rate, as a multiple of that of the run"""
STEPS, MIN_STEPS = 120, 40
"""steps of the test; on a slow machine there are fewer, but no fewer than these"""
SECONDS = 15.0
"""what the test may take, unless the least number of steps takes longer"""
MIN_LOSSES = 5
"""losses without which there is no curve"""
SMOOTHING = 0.9
"""β of the running mean of the losses"""
WINDOW = round(1 / (1 - SMOOTHING))
"""losses that the running mean is about"""
DIVERGENCE_FACTOR = 4.0
"""times the lowest loss, above which the rest is not tried"""


@dataclass(frozen=True)
class RangeTest:
    """The losses at growing learning rates, and what is read from them."""

    rates: np.ndarray  # (n,)
    losses: np.ndarray  # (n,) as they were
    smooth: np.ndarray  # (n,)
    steepest: float
    valley: float
    recommended: float
    seconds: float


def range_test(components: "RunComponents", steps: int = STEPS, seconds: float = SECONDS) -> RangeTest:
    """Raise the learning rate step by step. Neither the weights of the components nor any random generator changes."""
    from regulo.analysis.tuning.short_training import ShortTraining, copy_components

    start = time.perf_counter()
    device = components.config.trainer.device()
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    rates: list[float] = []
    losses: list[float] = []
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            training = ShortTraining(copy_components(components))
            lr = components.config.optim.for_batch_size(components.batch).lr
            batches = training.batches()
            training.step(next(batches), FROM * lr)  # slower than the others: memory is taken
            before = time.perf_counter()
            training.step(next(batches), FROM * lr)
            most = (start + seconds - time.perf_counter()) / (time.perf_counter() - before)
            for rate in np.geomspace(FROM * lr, TO * lr, max(min(steps, MIN_STEPS), min(steps, int(most)))):
                loss = training.step(next(batches), float(rate))
                rates.append(float(rate))
                losses.append(loss)
                if len(losses) >= MIN_LOSSES and (not math.isfinite(loss) or loss > DIVERGENCE_FACTOR * min(losses)):
                    break
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
    return read_curve(rates, losses, time.perf_counter() - start)


def read_curve(rates: Sequence[float], losses: Sequence[float], seconds: float = 0.0) -> RangeTest:
    """Steepest, valley and recommended rate of a curve of at least five steps. The last loss may not be finite.

    Raises InputError if fewer than three are finite.
    """
    finite = [i for i, loss in enumerate(losses) if math.isfinite(loss)]
    if len(finite) < 3:
        what = f"the loss is not finite, even at a learning rate of {rates[0]:.2g}"
        raise InputError(Problem("optim.lr", what, "look at model, weights and trainer.precision"))
    x, y = np.array(rates)[finite], np.array(losses)[finite]
    mean, smooth = 0.0, []
    for i, loss in enumerate(y, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smooth.append(mean / (1 - SMOOTHING**i))
    curve = np.array(smooth)
    lowest = int(np.argmin(curve))
    until = max(lowest + 1, 3)
    first = min(WINDOW, until - 1)  # before, the mean is over so few losses that its falls are noise
    slope = np.gradient(curve, np.log(x))[first:until]
    steepest = float(x[first + int(np.argmin(slope))])
    recommended = math.sqrt(steepest * x[lowest] / 10) if lowest else steepest
    return RangeTest(x, y, curve, steepest, float(x[_valley(curve)]), recommended, seconds)


def _valley(curve: np.ndarray) -> int:
    """The index at two thirds of the longest fall: the longest decreasing subsequence without gaps in its order."""
    n = len(curve)
    length, before = np.ones(n, int), np.full(n, -1)
    for i in range(1, n):
        for j in range(i):
            if curve[j] > curve[i] and length[j] + 1 > length[i]:
                length[i], before[i] = length[j] + 1, j
    end = int(np.argmax(length))
    fall = [end]
    while before[fall[-1]] >= 0:
        fall.append(int(before[fall[-1]]))
    fall.reverse()
    return fall[round(2 / 3 * (len(fall) - 1))]
