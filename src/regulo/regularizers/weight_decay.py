"""Weight decay.

    decoupled   θ ← (1 − ηλ) θ − η · step(∇L)      (Loshchilov & Hutter, 2019, arXiv:1711.05101, equation 1)
    l2          θ ← θ − η · step(∇L + λθ)          (the gradient of L + λ/2 ‖θ‖²)

Under plain SGD the two are the same; under Adam they are not, because its step divides λθ by the gradient's own scale.
"""

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from torch import nn

from regulo.core.errors import InputError, Problem
from regulo.core.ranges import ProperShare
from regulo.core.schedule import Rampable
from regulo.models.components.norms import NORMS
from regulo.optim.components.param_groups import NamedParameter, ParamGroup
from regulo.regularizers.base import Regularizer


class WeightDecay(Regularizer):
    """Pull every weight towards zero, except those in `skip`."""

    reference: ClassVar[str] = "arXiv:1711.05101"

    strength_fields: ClassVar[tuple[str, ...]] = ("rate",)

    rate: Rampable[ProperShare] = 0.01
    """λ: .01 to .1 decoupled under AdamW; 5e-4 as l2 under SGD with momentum, where momentum multiplies it by 10"""
    mode: Literal["decoupled", "l2"] = "decoupled"
    """beside the gradient step, or inside the gradient"""
    skip: list[str] = ["bias", "norm", "embedding"]
    """what does not decay: roles (bias; norm, scales too; embedding) or glob patterns of parameter names; [] decays everything"""

    def param_groups(self, groups: Sequence[ParamGroup]) -> list[ParamGroup]:
        self._refuse_idle_patterns([m for g in groups for m in g.members])
        result = []
        for group in groups:
            skipped = tuple(m for m in group.members if self._skips(m))
            decayed = tuple(m for m in group.members if not self._skips(m))
            if decayed:
                decoupled = self.mode == "decoupled"
                result.append(replace(group, members=decayed, weight_decay=self.rate, decoupled=decoupled))
            if skipped:
                result.append(replace(group, members=skipped))
        return result

    def _skips(self, member: NamedParameter) -> bool:
        return any(ROLES[s](member) if s in ROLES else fnmatch.fnmatch(member.name, s) for s in self.skip)

    def _refuse_idle_patterns(self, members: list[NamedParameter]) -> None:
        for pattern in self.skip:
            if pattern not in ROLES and not any(fnmatch.fnmatch(m.name, pattern) for m in members):
                some = ", ".join(m.name for m in members[:4])
                hint = f"roles are {', '.join(ROLES)}; parameters are named {some}, …"
                raise InputError(Problem("regularizer.weight_decay.skip", f"{pattern!r} matches no parameter", hint))


SCALES = ("scale1", "scale2", "layer_scale", "logit_scale")
POSITION_AND_CLASS = ("position", "class_token", "pos_embedding", "relative_position_bias_table")
ROLES: dict[str, Callable[[NamedParameter], bool]] = {
    "bias": lambda m: m.name.rpartition(".")[2] == "bias" or m.name.endswith("_bias"),
    "norm": lambda m: isinstance(m.owner, NORMS) or m.name.rpartition(".")[2] in SCALES,
    "embedding": lambda m: isinstance(m.owner, nn.Embedding) or m.name.rpartition(".")[2] in POSITION_AND_CLASS,
}
