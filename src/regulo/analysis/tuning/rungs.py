"""Successive halving over whole runs: every plan is tried in a short run, and the best of them in longer ones.

A rung is a number of epochs. Its runs have their own whole schedules, because a run that is cut off before its learning rate has
fallen says little about its end. Whenever three more runs of a rung have ended, the best plan of the rung that has not gone on
yet, if it is in the best third, goes on to the next one. This is asynchronous successive halving (Li et al., 2020,
arXiv:1810.05934), but with as many promotions as in the synchronous form: the sampler improves, so that otherwise most new plans
would go on.
"""

import itertools
import math
from collections.abc import Mapping

FACTOR = 3
"""η: the epochs of a rung over those of the rung before, and one of how many plans goes on"""
SHORTEST = 5
"""epochs of the shortest rung, at least"""
MAX_RUNGS = 3
"""rungs, at most"""


def list_rungs(max_epochs: int, count: int | None = None) -> tuple[int, ...]:
    """The epochs of each rung, the last one as long as the run itself. count: how many; None: as many as make sense."""
    rungs = [max_epochs]
    while len(rungs) < (count or MAX_RUNGS):
        shorter = round(rungs[0] / FACTOR)
        if shorter < (1 if count else SHORTEST) or shorter == rungs[0]:
            break
        rungs.insert(0, shorter)
    return tuple(rungs)


def find_promotion(
    rungs: tuple[int, ...], values: Mapping[int, Mapping[int, float]], promoted: Mapping[int, set[int]], minimize: bool
) -> tuple[int, int] | None:
    """The plan that goes on next, and the epochs of its run; None if none does. The highest rung comes first.

    values: by epochs and plan, the results of the runs that have ended. promoted: by epochs, the plans that have a run there,
    whatever its state.
    """
    for shorter, longer in reversed(list(itertools.pairwise(rungs))):
        ended = values.get(shorter, {})
        if len(promoted.get(longer, set())) >= len(ended) // FACTOR:
            continue  # the plans that were the best third before have taken the places
        ranked = sorted(ended, key=lambda plan: (ended[plan] if minimize else -ended[plan], plan))
        for plan in ranked[: len(ended) // FACTOR]:
            if plan not in promoted.get(longer, set()) and math.isfinite(ended[plan]):
                return plan, longer
    return None


def mean_epochs(rungs: tuple[int, ...]) -> float:
    """Epochs that a plan costs on average, with its share of the longer runs."""
    return sum(epochs / FACTOR**k for k, epochs in enumerate(rungs))
