"""Exponential moving average of the weights (Polyak & Juditsky, 1992; Tarvainen & Valpola, 2017, arXiv:1703.01780).

    θ̄ ← d θ̄ + (1 − d) θ  after every step, with  d = 2^(−1 / (half_life · steps))

so that the average forgets at the same pace however long the run is: a decay of .9999, copied from a run of 300 epochs, would
leave a third of the *initial* weights after 30 × 391 steps. Early in the run d is at most (1 + t) / (10 + t).
"""

from typing import TYPE_CHECKING, ClassVar

from regulo.core.ranges import Share
from regulo.regularizers.base import WHY_NOT_FSDP, Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class EMA(Regularizer):
    """Validate, keep and hand on a moving average of the weights."""

    reference: ClassVar[str] = "Polyak & Juditsky 1992; arXiv:1703.01780"
    strength_fields: ClassVar[tuple[str, ...]] = ("half_life",)
    tags: ClassVar[frozenset[str]] = frozenset({"average"})
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP}

    half_life: Share = 0.02
    """share of the run's steps after which a state counts half; 0 is the last state alone"""

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from regulo.regularizers.components.weight_averaging import WeightAveragingCallback

        return [WeightAveragingCallback(self.weight)]

    def weight(self, count: int, progress: float, steps: int) -> float:
        """1 − d, the weight of the newest state."""
        if self.half_life == 0:
            return 1.0
        decay = 0.5 ** (1 / (self.half_life * steps))
        return 1 - min(decay, (1 + count) / (10 + count))
