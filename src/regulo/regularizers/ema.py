"""Exponential moving average of the weights (Polyak & Juditsky, 1992; Tarvainen & Valpola, 2017, arXiv:1703.01780).

    after every step   θ̄ ← d θ̄ + (1 − d) θ,   d = min(2^(−1 / (half_life · steps)), (1 + t) / (10 + t))

t counts the states that were averaged so far. The half-life is a share of the run, so that the average forgets at the same pace
in short and in long runs: a decay of .9999, copied from a run of 300 epochs, would leave a third of the *initial* weights after
30 × 391 steps.
"""

from typing import TYPE_CHECKING, ClassVar

from regulo.core.ranges import Share
from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.base import WHY_NOT_FSDP, Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback


def ema_weight(count: int, half_life: float, steps: int) -> float:
    """1 − d, the weight in [0, 1] of the newest state, after `count` states, in a run of `steps` steps."""
    if half_life == 0:
        return 1.0
    decay = 0.5 ** (1 / (half_life * steps))
    return 1 - min(decay, (1 + count) / (10 + count))


class EMA(Regularizer):
    """Validate and save a moving average of the weights; it becomes the final weights."""

    reference: ClassVar[str] = "Polyak & Juditsky 1992; arXiv:1703.01780"
    strength_fields: ClassVar[tuple[str, ...]] = ("half_life",)
    tags: ClassVar[frozenset[str]] = frozenset({"average"})
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.4, {"half_life": Between(0.005, 0.06, log=True)})

    half_life: Share = 0.02
    """half-life as a share of the steps of the run: after it a state counts half; 0: only the last state counts"""

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from regulo.regularizers.components.weight_averaging import WeightAveragingCallback

        return [WeightAveragingCallback(self.weight)]

    def weight(self, count: int, progress: float, steps: int) -> float:
        """The weight in [0, 1] of the newest state."""
        return ema_weight(count, self.half_life, steps)
