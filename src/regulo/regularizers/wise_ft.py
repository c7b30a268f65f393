"""WiSE-FT: weights between those before and after fine-tuning (Wortsman et al., 2022, arXiv:2109.01903).

    θ_α = (1 − α) θ⁰ + α θ,   α = argmin over `shares` of the validation loss (or the best value of another monitor)

θ⁰ is the state before the first step, θ the trained one. The head is always the trained one, because a new head has no useful
θ⁰. At the end of every epoch α is chosen, and θ_α is validated and saved. So the best epoch is that of the best θ_α, and
`result.json` has the share of the final weights. Training goes on with θ. Checkpoints hold θ⁰ and θ beside θ_α, which makes them
larger.

The running statistics of BatchNorm are computed again for each θ_α with α < 1, from the last training batches of the epoch.
Between two sets of weights they are not the interpolated ones: docs/howto/fine_tuning.md has a measurement.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PrivateAttr
from torch import Tensor, nn

from regulo.core.ranges import Share
from regulo.core.search_space import SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.head import Head, find_head
from regulo.regularizers.base import WHY_NOT_FSDP, Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class WiSEFT(Regularizer):
    """Go part of the way back to the first weights, which are pretrained, as far as it helps on the validation images."""

    reference: ClassVar[str] = "arXiv:2109.01903"
    order: ClassVar[int] = 20  # the first state is that of the model after all surgery
    tags: ClassVar[frozenset[str]] = frozenset({"average"})
    incompatible: ClassVar[dict[str, str]] = {"fsdp": WHY_NOT_FSDP, "average": "there can be only one average of the weights"}
    search_space: ClassVar[SearchSpace] = SearchSpace(0.3, condition="pretrained weights")

    shares: Annotated[list[Share], Field(min_length=1, max_length=21)] = [0.25, 0.5, 0.75, 1.0]
    """the shares α that are tried, 1 for the trained weights; each costs one more validation per epoch. One share alone is used
    as it is, and costs nothing"""

    statistics: Annotated[int, Field(ge=1, le=1000)] = 16
    """training batches from which the statistics of BatchNorm are computed for the interpolated weights"""

    _head: Head = PrivateAttr(default=Head(()))
    _initial: dict[str, Tensor] = PrivateAttr(default_factory=dict)  # θ⁰ by name

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> "WiSEFT":
        technique = self.model_copy()
        technique._head, technique._initial = find_head(model, "regularizer.wise_ft"), {}
        return technique

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from regulo.regularizers.components.initial_state import InitialStateCallback
        from regulo.regularizers.components.interpolation import InterpolationCallback

        interpolation = InterpolationCallback(self._initial, self._head, self.shares, self.statistics, goal)
        return [InitialStateCallback(self._initial), interpolation]
