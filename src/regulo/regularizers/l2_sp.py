"""L2-SP: weight decay towards the starting point (Li et al., 2018, arXiv:1802.01483).

    L ← L + α/2 ‖w_B − w⁰_B‖² + β/2 ‖w_H‖²

w_B are all parameters of the backbone, w⁰_B their values before the first step, w_H those of the head, which has no useful
starting point. As in the paper, the penalty is a part of the loss. So Adam divides its gradient by the scale of the whole
gradient, as for l2. Checkpoints hold w⁰, which makes them larger by the size of the weights.
"""

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import PrivateAttr
from torch import Tensor, nn

from regulo.core.ranges import NonNegative
from regulo.core.schedule import Rampable
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo, LossInputs
from regulo.models.components.head import Head, find_head
from regulo.regularizers.base import WHY_NOT_FSDP, Goal, Regularizer

if TYPE_CHECKING:
    from lightning.pytorch import Callback


def squared_norm(tensors: tuple[Tensor, ...] | list[Tensor]) -> Tensor:
    """‖·‖² of all tensors together: ()."""
    return torch.stack([square.sum() for square in torch._foreach_mul(tensors, tensors)]).sum()


class L2SP(Regularizer):
    """Pull the backbone towards its first weights, which are pretrained, and the head towards zero."""

    reference: ClassVar[str] = "arXiv:1802.01483"
    order: ClassVar[int] = 20  # the starting point is that of the model after all surgery
    strength_fields: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    incompatible: ClassVar[dict[str, str]] = {
        "fsdp": WHY_NOT_FSDP,
        "weight_decay": "it pulls the backbone towards zero and not towards its first weights; beta is the decay of the head",
    }
    search_space: ClassVar[SearchSpace] = SearchSpace(
        0.3, {"alpha": Between(0.001, 1.0, log=True), "beta": Between(0.001, 0.1, log=True)}, condition="pretrained weights"
    )

    alpha: Rampable[NonNegative] = 0.1
    """α, of the backbone: .001 to 1, the more alike the data, the higher; .1 is often the best in the paper, with SGD"""
    beta: Rampable[NonNegative] = 0.01
    """β, of the head: .01 in the paper"""

    _head: Head = PrivateAttr(default=Head(()))
    _initial: dict[str, Tensor] = PrivateAttr(default_factory=dict)  # w⁰ by name

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> "L2SP":
        technique = self.model_copy()
        technique._head, technique._initial = find_head(model, "regularizer.l2_sp"), {}
        return technique

    def penalty(self, inputs: LossInputs) -> Tensor:
        from regulo.regularizers.components import initial_state

        initial_state.record(inputs.model, self._initial)
        parameters = dict(inputs.model.named_parameters())
        backbone = [name for name in parameters if name not in self._head]
        moves = torch._foreach_sub([parameters[n] for n in backbone], [self._initial[n] for n in backbone])
        head: list[Tensor] = [p for name, p in parameters.items() if name in self._head]
        return self.alpha / 2 * squared_norm(moves) + self.beta / 2 * squared_norm(head)

    def callbacks(self, goal: Goal) -> "list[Callback]":
        from regulo.regularizers.components.initial_state import InitialStateCallback

        return [InitialStateCallback(self._initial)]
