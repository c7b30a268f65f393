"""Stochastic weight averaging (Izmailov et al., 2018, arXiv:1803.05407): the plain mean of the states at the ends of epochs.

    at the end of every epoch in the last `share` of the run   θ̄ ← (n θ̄ + θ) / (n + 1)

n counts the states that were averaged so far. The statistics of BatchNorm are computed again for θ̄ before each validation, so
that the checkpoints score the average. The paper keeps the learning rate high or cyclic; `optim.schedule=constant` does so.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from regulo.core.ranges import Share
from regulo.core.search_space import Between, SearchSpace
from regulo.regularizers.base import WHY_NOT_FSDP, Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback


def swa_weight(count: int, progress: float, share: float) -> float | None:
    """1 / (n + 1), the weight of the newest state, after n = `count` states; None before the last `share` of the run."""
    return 1 / (count + 1) if share and progress > 1 - share + 1e-9 else None


class SWA(Regularizer):
    """Validate and save the mean of the weights of the last epochs; it becomes the final weights."""

    reference: ClassVar[str] = "arXiv:1803.05407"
    strength_fields: ClassVar[tuple[str, ...]] = ("share",)
    tags: ClassVar[frozenset[str]] = frozenset({"average"})
    incompatible: ClassVar[dict[str, str]] = {
        "fsdp": WHY_NOT_FSDP,
        "average": "there can be only one average of the weights",
        "early_stopping": "it may end the run before averaging begins, and its final weights are those of one epoch",
    }
    search_space: ClassVar[SearchSpace] = SearchSpace(0.15, {"share": Between(0.1, 0.4)})

    share: Share = 0.25
    """last share of the run, whose epochs are averaged: .2 to .3; 0 averages nothing"""
    statistics: Annotated[int, Field(ge=1, le=1000)] = 16
    """training batches from which the statistics of BatchNorm are computed for the average"""

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from regulo.regularizers.components.weight_averaging import WeightAveragingCallback

        return [WeightAveragingCallback(self.weight, per_epoch=True, bn_batches=self.statistics)]

    def weight(self, count: int, progress: float, steps: int) -> float | None:
        """The weight in (0, 1] of the newest state; None: it is not averaged."""
        return swa_weight(count, progress, self.share)
