"""Early stopping (Prechelt, 1998; Goodfellow et al., 2016, algorithm 7.1):  t* = argmin_t of the validation loss.

Patience only saves time; what regularizes is that the weights of t* are handed on. A run without this technique hands on
its last weights. Under a schedule that ends at a low rate, a short patience stops before the useful phase.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from regulo.core.ranges import NonNegative
from regulo.regularizers.base import Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class EarlyStopping(Regularizer):
    """Stop when the best epoch lies `patience` epochs back, and hand on the weights of the best epoch."""

    reference: ClassVar[str] = "Prechelt 1998; Deep Learning, algorithm 7.1"
    keeps_best: ClassVar[bool] = True

    patience: Annotated[int, Field(ge=1)] = 10
    """epochs without improvement before the run stops"""
    min_delta: NonNegative = 0.0
    """an improvement is a change by more than this, in the monitor's unit"""

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from lightning.pytorch import callbacks

        stop = callbacks.EarlyStopping(
            goal.monitor, mode=goal.mode, patience=self.patience, min_delta=self.min_delta, check_finite=False
        )
        return [stop]
