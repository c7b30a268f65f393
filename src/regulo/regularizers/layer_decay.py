"""Layer-wise decay of the learning rate (Clark et al., 2020, arXiv:2003.10555; Bao et al., 2021, arXiv:2106.08254).

    η_l = η · d^(L + 1 − l)    l = 0 before the first block, 1 to L in the blocks, L + 1 behind them

Early layers of a pretrained network are general and move little; the head is new and learns at the full rate.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Self

from pydantic import Field

from regulo.core.errors import InputError, Problem
from regulo.optim.components.param_groups import ParamGroup
from regulo.regularizers.base import Regularizer


class LayerDecay(Regularizer):
    """Give a layer a lower learning rate the further it is from the output."""

    reference: ClassVar[str] = "arXiv:2003.10555; arXiv:2106.08254"

    decay: Annotated[float, Field(gt=0, le=1)] = 0.75
    """d, from one layer to the one before it: .65 to .8 when a ViT is fine-tuned; 1 changes nothing. It is no ramp: the
    learning rate already has a schedule"""

    def with_strength(self, strength: float) -> Self | None:
        """d^strength: twice the strength is the decay of two layers in the place of one."""
        return self.model_copy(update={"decay": self.decay**strength}) if strength else None

    def param_groups(self, groups: Sequence[ParamGroup]) -> list[ParamGroup]:
        top = max(m.layer for g in groups for m in g.members)
        if top < 2:  # L + 1 without a single block
            raise InputError(Problem("regularizer.layer_decay", "this model is not made of blocks", "~regularizer.layer_decay"))
        result = []
        for group in groups:
            for layer in sorted({m.layer for m in group.members}, reverse=True):  # the head first: its rate is the one logged
                members = tuple(m for m in group.members if m.layer == layer)
                result.append(replace(group, members=members, lr_scale=group.lr_scale * self.decay ** (top - layer)))
        return result
