"""The plan: a run's regularizers in the order in which they act, folded over transform, model, parameters and batch."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from regulo.batch import Facts
from regulo.groups import NamedParameter, ParamGroup
from regulo.regularizers.base import HOOKS, Goal, Regularizer, hooks

if TYPE_CHECKING:
    from lightning.pytorch import Callback

Draw = Callable[[str], np.random.Generator]


class Plan:
    """What the task, the data module and the trainer call; none of them names a technique."""

    def __init__(self, regularizers: Iterable[Regularizer]) -> None:
        self.regularizers = sorted(regularizers, key=lambda r: (r.order, r.name))
        self._mixing = _turns(self._using("mix"))

    def _using(self, hook: str) -> list[Regularizer]:
        return [r for r in self.regularizers if hook in hooks(r)]

    @property
    def keeps_best(self) -> bool:
        """Whether the best epoch's weights are handed on. Choosing them by the validation loss *is* early stopping."""
        return any(r.keeps_best for r in self.regularizers)

    def transforms(self, fit: Sequence[Any], facts: Facts) -> list[Any]:
        """The albumentations transforms of training images."""
        pipeline = list(fit)
        for r in self._using("transform"):
            pipeline = r.transform(pipeline, facts)
        return pipeline

    def surgery(self, model: nn.Module, facts: Facts) -> nn.Module:
        """The model, changed in place."""
        for r in self._using("surgery"):
            r.surgery(model, facts)
        return model

    def param_groups(self, model: nn.Module) -> list[ParamGroup]:
        """The trainable parameters, each in exactly one group."""
        members = named_parameters(model)
        groups = [ParamGroup(members)]
        for r in self._using("param_groups"):
            groups = r.param_groups(groups)
        placed = sorted(m.name for g in groups for m in g.members)
        if placed != sorted(m.name for m in members):
            raise AssertionError("a regularizer lost or doubled a parameter while regrouping")
        return groups

    def mix(self, images: Tensor, targets: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """A training batch (B, C, H, W) and its targets (B, K), mixed. `draw` gives a technique its generator by name."""
        for turn in self._mixing:
            r = turn[draw(turn[0].turns).integers(len(turn))] if len(turn) > 1 else turn[0]
            images, targets = r.mix(images, targets, draw(r.name))
        return images, targets

    def callbacks(self, goal: Goal) -> "list[Callback]":
        """Lightning callbacks that act on the run."""
        return [c for r in self._using("callbacks") for c in r.callbacks(goal)]

    def rows(self) -> list[dict[str, str]]:
        """The plan as a table: one row per technique and hook, in flow order."""
        rows: list[dict[str, str]] = []
        for hook in HOOKS:
            for r in self._using(hook):
                strength = ", ".join(f"{k}={_short(v)}" for k, v in r.model_dump().items())
                takes_turns = hook == "mix" and any(len(t) > 1 and r in t for t in self._mixing)
                where = hook + (", one per batch" if takes_turns else "")
                rows.append(
                    {"order": str(len(rows) + 1), "technique": r.name, "hook": where, "strength": strength, "source": r.source}
                )
        return rows


def named_parameters(model: nn.Module) -> tuple[NamedParameter, ...]:
    """The trainable parameters with their owners; shared ones once."""
    found = {}
    for prefix, owner in model.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in found:
                found[id(parameter)] = NamedParameter(f"{prefix}.{name}".lstrip("."), parameter, owner)
    return tuple(found.values())


def _turns(regularizers: list[Regularizer]) -> list[list[Regularizer]]:
    """Techniques that take turns stand together, in the place of the first of them."""
    turns: list[list[Regularizer]] = []
    for r in regularizers:
        group = next((t for t in turns if r.turns and t[0].turns == r.turns), None)
        if group is None:
            turns.append([r])
        else:
            group.append(r)
    return turns


def _short(value: Any) -> str:
    return "[" + " ".join(map(str, value)) + "]" if isinstance(value, list) else "–" if value is None else str(value)
