"""Linear probing, then fine-tuning (LP-FT; Kumar et al., 2022, arXiv:2202.10054): the head learns alone at first.

    progress < share    head ← head − η ∇_head L,  the backbone stays as it is
    progress ≥ share    all parameters are trained

A new head is random. Its first gradients would distort the features of a pretrained backbone before the head can use them.

While the backbone is frozen, it has no gradients, no weight decay and no state in the optimizer, and its pass needs no backward
pass. Its BatchNorm uses its running statistics and does not change them. Techniques inside of it, such as dropout, still act.
The learning rate has one schedule over the whole run. With `share` at or after the peak of the schedule, the backbone only gets
the falling part of it.
"""

from typing import TYPE_CHECKING, ClassVar

from torch import nn

from regulo.core.ranges import Share
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.head import find_head
from regulo.regularizers.base import Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback

KEY = "regularizer.linear_probe"


class LinearProbe(Regularizer):
    """Train the head alone for the first part of the run, then everything: for a backbone with pretrained weights."""

    reference: ClassVar[str] = "arXiv:2202.10054"
    strength_fields: ClassVar[tuple[str, ...]] = ("share",)
    incompatible: ClassVar[dict[str, str]] = {"fsdp": "a parameter that is sharded cannot change whether it is trained"}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.3, {"share": Between(0.1, 0.5)}, condition="pretrained weights")

    share: Share = 0.3
    """first share of the steps, in which only the head is trained; 1: the whole run is a linear probe; 0: nothing is frozen"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        find_head(model, KEY)  # refuses a model without one

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from regulo.regularizers.components.freezing import FreezeBackboneCallback

        return [FreezeBackboneCallback(self.share, KEY)]
