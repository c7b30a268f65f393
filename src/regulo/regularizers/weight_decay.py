"""Weight decay.

    decoupled   θ ← (1 − ηλ) θ − η · step(∇L)      (Loshchilov & Hutter, 2019, arXiv:1711.05101, equation 1)
    l2          θ ← θ − η · step(∇L + λθ)          (the gradient of L + λ/2 ‖θ‖²)

Under plain SGD the two are the same. Under Adam they are not, because its step divides λθ by the scale of the gradient.
"""

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from torch import nn

from regulo.core.errors import InputError, Problem
from regulo.core.ranges import ProperShare
from regulo.core.schedule import Rampable
from regulo.core.search_space import SearchSpace, Times
from regulo.models.components.norms import NORMS
from regulo.optim.components.param_groups import NamedParameter, ParamGroup
from regulo.regularizers.base import Regularizer

SCALES = ("scale1", "scale2", "layer_scale", "logit_scale")
POSITION_AND_CLASS = ("position", "class_token", "pos_embedding", "relative_position_bias_table")
ROLES: dict[str, Callable[[NamedParameter], bool]] = {
    "bias": lambda m: m.name.rpartition(".")[2] == "bias" or m.name.endswith("_bias"),
    "norm": lambda m: isinstance(m.owner, NORMS) or m.name.rpartition(".")[2] in SCALES,
    "embedding": lambda m: isinstance(m.owner, nn.Embedding) or m.name.rpartition(".")[2] in POSITION_AND_CLASS,
}
"""whether a parameter has a role"""


class WeightDecay(Regularizer):
    """Pull every weight towards zero, except those in `skip`."""

    reference: ClassVar[str] = "arXiv:1711.05101"
    strength_fields: ClassVar[tuple[str, ...]] = ("rate",)
    # the best rate depends on the optimizer and on `mode`
    search_space: ClassVar[SearchSpace] = SearchSpace(0.95, {"rate": Times(0.1, 10)})

    rate: Rampable[ProperShare] = 0.01
    """λ: .01 to .1 decoupled under AdamW; 5e-4 as l2 under SGD with momentum, where momentum multiplies it by 10"""
    mode: Literal["decoupled", "l2"] = "decoupled"
    """decoupled: apart from the gradient step; l2: as a part of the gradient"""
    skip: list[str] = ["bias", "norm", "embedding"]
    """parameters without decay: roles (bias; norm, with scales; embedding) or glob patterns of parameter names; []: none"""

    def param_groups(self, groups: Sequence[ParamGroup]) -> list[ParamGroup]:
        self._check_patterns([m for g in groups for m in g.members])
        result: list[ParamGroup] = []
        for group in groups:
            without_decay = tuple(m for m in group.members if self._skips(m))
            with_decay = tuple(m for m in group.members if not self._skips(m))
            if with_decay:
                decoupled = self.mode == "decoupled"
                result.append(replace(group, members=with_decay, weight_decay=self.rate, decoupled=decoupled))
            if without_decay:
                result.append(replace(group, members=without_decay))
        return result

    def _skips(self, member: NamedParameter) -> bool:
        return any(ROLES[s](member) if s in ROLES else fnmatch.fnmatch(member.name, s) for s in self.skip)

    def _check_patterns(self, members: list[NamedParameter]) -> None:
        for pattern in self.skip:
            if pattern not in ROLES and not any(fnmatch.fnmatch(m.name, pattern) for m in members):
                examples = ", ".join(m.name for m in members[:4])
                hint = f"roles are {', '.join(ROLES)}; parameters are named {examples}, …"
                raise InputError(Problem("regularizer.weight_decay.skip", f"{pattern!r} matches no parameter", hint))
