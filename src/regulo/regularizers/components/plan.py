"""The plan: a run's regularizers in the order in which they act, folded over transform, model, parameters, batch and loss."""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from regulo.core import registry
from regulo.core.errors import Problem
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp
from regulo.core.types import DatasetInfo, LossInputs, soft_cross_entropy
from regulo.models.components.sites import block_numbers
from regulo.optim.components.param_groups import NamedParameter, ParamGroup
from regulo.regularizers.base import HOOKS, Goal, Regularizer, used_hooks

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class Plan:
    """What the task, the data module and the trainer call; none of them names a technique."""

    def __init__(self, regularizers: Iterable[Regularizer], strength: float = 1.0) -> None:
        scaled = list(regularizers)
        if strength != 1:  # 1 is what is written, to the last bit
            scaled = [s for r in scaled if (s := r.with_strength(strength)) is not None]
        self._arrange(sorted(scaled, key=lambda r: (r.order, r.name)))

    def _arrange(self, regularizers: list[Regularizer]) -> None:
        self.regularizers = regularizers
        self._users = {hook: [r for r in regularizers if hook in used_hooks(r)] for hook in HOOKS}
        self._mixing = _group_exclusive(self._using("mix"))

    def _using(self, hook: str) -> list[Regularizer]:
        return self._users[hook]

    def with_hook(self, hook: str) -> "Plan":
        """The part of the plan that uses a hook."""
        return Plan(self._using(hook))

    def _ramped(self, hook: str) -> bool:
        return any(isinstance(v, Ramp) for r in self._using(hook) for v in dict(r).values())

    @property
    def keeps_best(self) -> bool:
        """Whether the best epoch's weights are handed on. Choosing them by the validation loss *is* early stopping."""
        return any(r.keeps_best for r in self.regularizers)

    # ---- before training

    def sequence(self, places: np.ndarray) -> np.ndarray:
        """The places of an epoch's images (n,), in the order in which they are visited."""
        for r in self._using("sequence"):
            places = r.sequence(places)
        return places

    def transforms(self, fit: Sequence[Any], facts: DatasetInfo, progress: float = 0.0) -> list[Any]:
        """The albumentations transforms of training images."""
        pipeline = list(fit)
        for r in self._using("transform"):
            pipeline = r.resolve(progress).transform(pipeline, facts)
        return pipeline

    def surgery(self, model: nn.Module, facts: DatasetInfo) -> nn.Module:
        """The model, changed in place; from now on the plan acts on this model."""
        bound = {r.name: r.surgery(model, facts) for r in self._using("surgery")}
        self._arrange([bound.get(r.name) or r for r in self.regularizers])
        return model

    def param_groups(self, model: nn.Module, progress: float = 0.0) -> list[ParamGroup]:
        """The trainable parameters, each in exactly one group."""
        members = named_parameters(model)
        groups = [ParamGroup(members)]
        for r in self._using("param_groups"):
            groups = r.resolve(progress).param_groups(groups)
        placed = sorted(m.name for g in groups for m in g.members)
        if placed != sorted(m.name for m in members):
            raise AssertionError("a regularizer lost or doubled a parameter while regrouping")
        return groups

    @functools.cached_property
    def groups_change(self) -> bool:
        """Whether the parameter groups change while the run goes on."""
        return self._ramped("param_groups")

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, now: Callable[[], StepContext]
    ) -> torch.optim.Optimizer:
        """The optimizer with all that acts on its step; what comes first in the order is innermost."""
        for r in self._using("wrap_optimizer"):

            def present(r: Regularizer = r) -> tuple[Regularizer, StepContext]:
                moment = now()
                return r.resolve(moment.progress), moment

            optimizer = r.wrap_optimizer(optimizer, model, present)
        return optimizer

    # ---- in a training step

    def mix(self, images: Tensor, targets: Tensor, now: StepContext) -> tuple[Tensor, Tensor]:
        """A training batch (B, C, H, W) and its targets (B, K), mixed."""
        for turn in self._mixing:
            r = turn[now.rng(turn[0].one_of).integers(len(turn))] if len(turn) > 1 else turn[0]
            images, targets = r.resolve(now.progress).mix(images, targets, now.rng(r.name))
        return images, targets

    def loss(
        self, model: nn.Module, images: Tensor, targets: Tensor, logits: Tensor, now: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a forward pass, and its parts by name: that of the data (the first view), and every penalty.

        Images (V·B, C, H, W), targets (B, K), logits (V·B, K).
        """
        criterion: Callable[[Tensor, Tensor], Tensor] = soft_cross_entropy
        for r in self._using("criterion"):
            criterion = r.resolve(now.progress).criterion
        parts = {"data": criterion(logits[: len(targets)].float(), targets).mean()}
        step = LossInputs(model, images, targets, logits, criterion)
        for r in self._using("penalty"):
            parts[r.name] = r.resolve(now.progress).penalty(step)
        return torch.stack(list(parts.values())).sum() if len(parts) > 1 else parts["data"], parts

    def callbacks(self, goal: Goal) -> "list[Callback]":
        """Lightning callbacks that act on the run."""
        return [c for r in self._using("callbacks") for c in r.callbacks(goal)]

    # ---- behind training

    def infer(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """The final answers on normalised images (B, C, H, W): "logits" (B, K), and further quantities (B,) by name."""
        for r in self._using("infer"):
            return r.infer(model, images)
        return {"logits": model(images)}

    def calibrate(self, logits: Tensor, labels: Tensor) -> float:
        """The temperature by which the final logits (n, K) are divided, from those of the validation images."""
        for r in self._using("calibrate"):
            return r.calibrate(logits, labels)
        return 1.0

    @property
    def calibrates(self) -> bool:
        """Whether a temperature is fitted."""
        return bool(self._using("calibrate"))

    # ---- for people

    def as_rows(self) -> list[dict[str, str]]:
        """The plan as a table: one row per technique and hook, in flow order."""
        rows: list[dict[str, str]] = []
        for hook in HOOKS:
            for r in self._using(hook):
                strength = ", ".join(f"{k}={_short(v)}" for k, v in r.model_dump().items())
                takes_turns = hook == "mix" and any(len(t) > 1 and r in t for t in self._mixing)
                where = hook + (", one per batch" if takes_turns else "")
                rows.append(
                    {"order": str(len(rows) + 1), "technique": r.name, "hook": where, "strength": strength, "source": r.reference}
                )
        return rows


def find_providers(need: str) -> list[str]:
    """The techniques that a word of `needs` means: the one of that name, or all with that role."""
    known = registry.list_plugins("regularizer")
    return [need] if need in known else [n for n in known if need in registry.get_plugin("regularizer", n).tags]


EXCLUSIVE = ("criterion", "infer", "calibrate")
"""hooks that one technique at most may use"""


def find_conflicts(regularizers: Sequence[Regularizer], circumstances: Iterable[str] = ()) -> list[Problem]:
    """What must not run together, not alone, or not under these circumstances (of the trainer), each with the reason."""
    problems: dict[frozenset[str], Problem] = {}

    def add(name: str, other: str, what: str, hint: str) -> None:
        problems.setdefault(frozenset((name, other)), Problem(f"regularizer.{name}", what, hint))

    def pair(name: str, other: str, reason: str) -> None:
        add(name, other, f"cannot run beside {other}: {reason}", f"~regularizer.{name} or ~regularizer.{other}")

    present = {word for r in regularizers for word in (r.name, *r.tags)}
    for hook in EXCLUSIVE:
        for first, second in itertools.pairwise(r.name for r in regularizers if hook in used_hooks(r)):
            pair(second, first, f"both say what the run's {hook} is")
    for r in regularizers:
        for name, reason in r.requires.items():
            if name not in present:
                add(r.name, name, reason, " or ".join(f"+regularizer={n}" for n in find_providers(name)))
        for other in (o for o in regularizers if o is not r):
            for word in sorted({other.name, *other.tags} & set(r.incompatible)):
                pair(r.name, other.name, r.incompatible[word])
        for word in circumstances:
            if word in r.incompatible:
                add(r.name, word, f"cannot run under {word}: {r.incompatible[word]}", f"~regularizer.{r.name}")
    return list(problems.values())


def named_parameters(model: nn.Module) -> tuple[NamedParameter, ...]:
    """The trainable parameters with their owners and the number of their layer; shared ones once."""
    found: dict[int, NamedParameter] = {}
    blocks, layer = block_numbers(model), 0
    for prefix, owner in model.named_modules():
        inside = next((n for block, n in blocks.items() if prefix == block or prefix.startswith(f"{block}.")), None)
        for name, parameter in owner.named_parameters(recurse=False):
            layer = inside or (layer if layer < len(blocks) else len(blocks) + 1)
            if parameter.requires_grad and id(parameter) not in found:
                found[id(parameter)] = NamedParameter(f"{prefix}.{name}".lstrip("."), parameter, owner, layer)
    return tuple(found.values())


def _group_exclusive(regularizers: list[Regularizer]) -> list[list[Regularizer]]:
    """Techniques that take turns stand together, in the place of the first of them."""
    turns: list[list[Regularizer]] = []
    for r in regularizers:
        group = next((t for t in turns if r.one_of and t[0].one_of == r.one_of), None)
        if group is None:
            turns.append([r])
        else:
            group.append(r)
    return turns


def _short(value: Any) -> str:
    if isinstance(value, dict):  # a ramp
        return f"{value['start']:g}→{value['end']:g}"
    if isinstance(value, float):
        return f"{value:g}"
    return "[" + " ".join(map(str, value)) + "]" if isinstance(value, list) else "–" if value is None else str(value)
