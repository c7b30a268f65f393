"""Layer-wise decay of the learning rate (Clark et al., 2020, arXiv:2003.10555; Bao et al., 2021, arXiv:2106.08254).

    η_l = η · d^(L + 1 − l)    l = 0 before the first block, 1 to L in the blocks, L + 1 after them

Early layers of a pretrained network are general and should change little; the head is new and learns at the full rate.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Self

from pydantic import Field

from regulo.core.errors import InputError, Problem
from regulo.core.search_space import Between, SearchSpace
from regulo.optim.components.param_groups import ParamGroup
from regulo.regularizers.base import Regularizer


def lr_scale(layer: int, last: int, decay: float) -> float:
    """η_l / η of layer l, with `last` = L + 1."""
    return decay ** (last - layer)


class LayerDecay(Regularizer):
    """Give layers near the input a lower learning rate than layers near the output."""

    reference: ClassVar[str] = "arXiv:2003.10555; arXiv:2106.08254"
    search_space: ClassVar[SearchSpace] = SearchSpace(0.5, {"decay": Between(0.5, 0.95)}, condition="pretrained weights")

    decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    """d, from one layer to the one before it: .65 to .8 when a ViT is fine-tuned; 1 changes nothing. It cannot be a ramp:
    the learning rate already has a schedule"""

    def with_strength(self, strength: float) -> Self | None:
        """d^strength: at strength 2, one layer has the decay of two."""
        return self.model_copy(update={"decay": self.decay**strength}) if strength else None

    def param_groups(self, groups: Sequence[ParamGroup]) -> list[ParamGroup]:
        last = max(m.layer for g in groups for m in g.members)
        if last < 2:  # L + 1 = 1: the model has no block
            raise InputError(Problem("regularizer.layer_decay", "this model is not made of blocks", "~regularizer.layer_decay"))
        result: list[ParamGroup] = []
        for group in groups:
            for layer in sorted(
                {m.layer for m in group.members}, reverse=True
            ):  # the head first: the rate of the first group is logged
                members = tuple(m for m in group.members if m.layer == layer)
                scale = group.lr_scale * lr_scale(layer, last, self.decay)
                result.append(replace(group, members=members, lr_scale=scale))
        return result
