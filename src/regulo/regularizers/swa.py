"""Stochastic weight averaging (Izmailov et al., 2018, arXiv:1803.05407): the plain mean of the states at the ends of epochs.

    θ̄ ← (n θ̄ + θ) / (n + 1)  at the end of every epoch of the last `share` of the run

BatchNorm's statistics are estimated anew for θ̄ before each validation, so that the checkpoints score the average itself. The
paper keeps the learning rate high or cyclic meanwhile: `optim.schedule=constant` does.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from regulo.core.ranges import Share
from regulo.regularizers.base import WHY_NOT_FSDP, Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class SWA(Regularizer):
    """Validate, keep and hand on the mean of the weights of the last epochs."""

    reference: ClassVar[str] = "arXiv:1803.05407"
    strength_fields: ClassVar[tuple[str, ...]] = ("share",)
    tags: ClassVar[frozenset[str]] = frozenset({"average"})
    incompatible: ClassVar[dict[str, str]] = {
        "fsdp": WHY_NOT_FSDP,
        "average": "there can be only one average of the weights to hand on",
        "early_stopping": "it may end the run before averaging begins, and would hand on one epoch's weights",
    }

    share: Share = 0.25
    """last share of the run whose epochs are averaged, .2 to .3; 0 averages nothing"""
    statistics: Annotated[int, Field(ge=1, le=1000)] = 16
    """training batches from which BatchNorm's statistics are estimated anew for the average"""

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from regulo.regularizers.components.weight_averaging import WeightAveragingCallback

        return [WeightAveragingCallback(self.weight, per_epoch=True, fresh_statistics=self.statistics)]

    def weight(self, count: int, progress: float, steps: int) -> float | None:
        """1 / (n + 1), the weight of the newest state."""
        return 1 / (count + 1) if self.share and progress > 1 - self.share + 1e-9 else None
