"""Early stopping (Prechelt, 1998; Goodfellow et al., 2016, algorithm 7.1):  t* = argmin_t of the validation loss.

Patience only saves time. The regularization is that the weights of t* become the final weights; without this technique, the last
weights do. If the schedule ends at a low learning rate, a short patience stops the run before its most useful phase.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from regulo.core.ranges import NonNegative
from regulo.core.search_space import SearchSpace
from regulo.regularizers.base import Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class EarlyStopping(Regularizer):
    """Stop when the best epoch is `patience` epochs ago, and use its weights as the final weights."""

    reference: ClassVar[str] = "Prechelt 1998; Deep Learning, algorithm 7.1"
    keeps_best: ClassVar[bool] = True
    search_space: ClassVar[SearchSpace] = SearchSpace(
        why_not="it decides when a run ends and which epoch counts, for all plans alike"
    )

    patience: Annotated[int, Field(ge=1)] = 10
    """epochs without improvement before the run stops"""
    min_delta: NonNegative = 0.0
    """smallest change that counts as an improvement, in the unit of the monitor"""

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from lightning.pytorch import callbacks

        early_stopping = callbacks.EarlyStopping(
            goal.monitor, mode=goal.mode, patience=self.patience, min_delta=self.min_delta, check_finite=False
        )
        return [early_stopping]
