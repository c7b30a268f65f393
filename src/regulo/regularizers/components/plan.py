"""The plan: the regularizers of a run, in the order in which they act on transforms, model, parameters, batch and loss."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from regulo.core import registry
from regulo.core.errors import Problem
from regulo.core.rng import ImageDraws, StepContext, epoch_rng
from regulo.core.schedule import Ramp
from regulo.core.types import DatasetInfo, LossInputs, soft_cross_entropy
from regulo.models.components.sites import layer_numbers
from regulo.optim.components.param_groups import NamedParameter, ParamGroup
from regulo.regularizers.base import HOOKS, Goal, Regularizer, used_hooks

if TYPE_CHECKING:
    from lightning.pytorch import Callback


class Plan:
    """All techniques of a run behind one interface: the training module, the data module and the trainer name no technique."""

    def __init__(self, regularizers: Iterable[Regularizer], strength: float = 1.0) -> None:
        plan = list(regularizers)
        if strength != 1:  # at 1 the configured values stay exactly as they are
            plan = [copy for r in plan if (copy := r.with_strength(strength)) is not None]
        self._arrange(sorted(plan, key=lambda r: (r.order, r.name)))

    def _arrange(self, regularizers: list[Regularizer]) -> None:
        self.regularizers = regularizers
        self._by_hook = {hook: [r for r in regularizers if hook in used_hooks(r)] for hook in HOOKS}
        self._mix_groups = _mix_groups(self._by_hook["mix"])

    def with_hook(self, hook: str) -> "Plan":
        """The part of the plan that uses a hook."""
        return Plan(self._by_hook[hook])

    def _has_ramp(self, hook: str) -> bool:
        return any(isinstance(v, Ramp) for r in self._by_hook[hook] for v in dict(r).values())

    @property
    def keeps_best(self) -> bool:
        """Whether the final weights are those of the best epoch. To choose them by the validation loss *is* early stopping."""
        return any(r.keeps_best for r in self.regularizers)

    # ---- before training

    def sequence(self, indices: np.ndarray, epoch: int, labels: np.ndarray, seed: int) -> np.ndarray:
        """The indices (n,) of the images of an epoch, in the order in which they are visited. `labels` (n,) are by index."""
        for r in self._by_hook["sequence"]:
            indices = r.sequence(indices, labels, epoch_rng(seed, epoch, r.name))
        return indices

    def transforms(self, resize: Sequence[Any], dataset_info: DatasetInfo, progress: float = 0.0) -> list[Any]:
        """The albumentations transforms of training images; they begin with `resize`."""
        pipeline = list(resize)
        for r in self._by_hook["transform"]:
            pipeline = r.resolve(progress).transform(pipeline, dataset_info)
        return pipeline

    def without_batch_form(self) -> list[str]:
        """The techniques that change images one by one only."""
        return [r.name for r in self._by_hook["transform"] if r not in self._by_hook["transform_batch"]]

    def transform_batch(self, images: Tensor, keys: np.ndarray, seed: int, progress: float = 0.0) -> Tensor:
        """What the transforms do, for a batch of images (B, C, H, W) uint8 with these epochs, indices and copies (B, 3)."""
        for r in self._by_hook["transform_batch"]:
            images = r.resolve(progress).transform_batch(images, ImageDraws(seed, r.name, keys))
        return images

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> nn.Module:
        """The model, changed in place. The plan belongs to this model from now on."""
        replacements = {r.name: r.surgery(model, dataset_info) for r in self._by_hook["surgery"]}
        self._arrange([replacements.get(r.name) or r for r in self.regularizers])
        return model

    def param_groups(self, model: nn.Module, progress: float = 0.0) -> list[ParamGroup]:
        """All parameters, each in exactly one group. Optimizers skip those that are frozen: they have no gradient."""
        members = named_parameters(model)
        groups = [ParamGroup(members)]
        for r in self._by_hook["param_groups"]:
            groups = r.resolve(progress).param_groups(groups)
        names = sorted(m.name for g in groups for m in g.members)
        if names != sorted(m.name for m in members):
            raise AssertionError("a regularizer lost or doubled a parameter in param_groups")
        return groups

    @functools.cached_property
    def groups_change(self) -> bool:
        """Whether the parameter groups change during the run."""
        return self._has_ramp("param_groups")

    def ramp_values(self, progress: float) -> dict[str, float]:
        """{technique.field: strength} of every ramp, at a progress in [0, 1]."""
        return {
            f"{r.name}.{field}": value.value_at(progress)
            for r in self.regularizers
            for field, value in r
            if isinstance(value, Ramp)
        }

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, step_context: Callable[[], StepContext]
    ) -> torch.optim.Optimizer:
        """The optimizer with all techniques that act on its step; the first in the order is the innermost."""
        for r in self._by_hook["wrap_optimizer"]:

            def resolve_step(r: Regularizer = r) -> tuple[Regularizer, StepContext]:
                context = step_context()
                return r.resolve(context.progress), context

            optimizer = r.wrap_optimizer(optimizer, model, resolve_step)
        return optimizer

    # ---- in a training step

    def mix(self, images: Tensor, targets: Tensor, context: StepContext) -> tuple[Tensor, Tensor]:
        """A training batch (B, C, H, W) and its targets (B, K), mixed."""
        for group in self._mix_groups:
            r = group[context.rng(group[0].one_of).integers(len(group))] if len(group) > 1 else group[0]
            images, targets = r.resolve(context.progress).mix(images, targets, context.rng(r.name))
        return images, targets

    def loss(
        self, model: nn.Module, images: Tensor, targets: Tensor, logits: Tensor, class_counts: Tensor, context: StepContext
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss () of a forward pass, and its parts () by name: the data loss (of the first view), and every penalty.

        Images (V·B, C, H, W), targets (B, K), logits (V·B, K), training images of each class (K,).
        """
        criterion: Callable[[Tensor, Tensor], Tensor] = soft_cross_entropy
        for r in self._by_hook["criterion"]:
            criterion = functools.partial(r.resolve(context.progress).criterion, class_counts=class_counts)
        parts = {"data": criterion(logits[: len(targets)].float(), targets).mean()}
        inputs = LossInputs(model, images, targets, logits, criterion)
        for r in self._by_hook["penalty"]:
            parts[r.name] = r.resolve(context.progress).penalty(inputs)
        return torch.stack(list(parts.values())).sum() if len(parts) > 1 else parts["data"], parts

    def callbacks(self, goal: Goal) -> "list[Callback]":
        """The Lightning callbacks of all techniques."""
        return [c for r in self._by_hook["callbacks"] for c in r.callbacks(goal)]

    # ---- after training

    def infer(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """The final predictions on normalized images (B, C, H, W): "logits" (B, K), and other quantities (B,) by name."""
        for r in self._by_hook["infer"]:
            return r.infer(model, images)
        return {"logits": model(images)}

    def calibrate(self, logits: Tensor, labels: Tensor) -> float:
        """The temperature T > 0 that divides the final logits, from validation logits (n, K) and labels (n,); 1 by default."""
        for r in self._by_hook["calibrate"]:
            return r.calibrate(logits, labels)
        return 1.0

    @property
    def calibrates(self) -> bool:
        """Whether a technique fits a temperature."""
        return bool(self._by_hook["calibrate"])

    # ---- to be printed

    def as_rows(self) -> list[dict[str, str]]:
        """The plan as a table: one row per technique and hook, in the order of `HOOKS`.

        `transform_batch` has none: it takes the place of `transform`.
        """
        rows: list[dict[str, str]] = []
        for hook in (h for h in HOOKS if h != "transform_batch"):
            for r in self._by_hook[hook]:
                strength = ", ".join(f"{k}={_short(v)}" for k, v in r.model_dump().items())
                shares_batches = hook == "mix" and any(len(group) > 1 and r in group for group in self._mix_groups)
                label = hook + (", one per batch" if shares_batches else "")
                rows.append(
                    {"order": str(len(rows) + 1), "technique": r.name, "hook": label, "strength": strength, "source": r.reference}
                )
        return rows


def find_providers(requirement: str) -> list[str]:
    """The techniques that meet a key of `requires`: the one of that name, or all with that tag."""
    names = registry.list_plugins("regularizer")
    if requirement in names:
        return [requirement]
    return [n for n in names if requirement in registry.get_plugin("regularizer", n).tags]


EXCLUSIVE = ("criterion", "infer", "calibrate")
"""hooks that at most one technique may use"""
Conflict = tuple[frozenset[str], Problem]
"""the names that a problem is about, and the problem"""


def find_conflicts(regularizers: Sequence[Regularizer], run_conditions: Iterable[str] = ()) -> list[Problem]:
    """What must not run together, alone, or under these conditions of the trainer, with the reasons; each pair once."""
    conflicts: list[Conflict] = []
    run_conditions = list(run_conditions)
    for r in regularizers:
        conflicts += [
            *_missing_requirements(r, regularizers),
            *_incompatible_pairs(r, regularizers),
            *_condition_conflicts(r, run_conditions),
        ]
    conflicts += _exclusive_hooks(regularizers)  # last: the reason of a technique says more
    problems: dict[frozenset[str], Problem] = {}
    for names, problem in conflicts:
        problems.setdefault(names, problem)
    return list(problems.values())


def _exclusive_hooks(regularizers: Sequence[Regularizer]) -> Iterator[Conflict]:
    """Techniques that share a hook that only one may use."""
    for hook in EXCLUSIVE:
        users = [r.name for r in regularizers if hook in used_hooks(r)]
        for first, second in itertools.pairwise(users):
            yield _pair(second, first, f"both define the {hook} of the run")


def _missing_requirements(r: Regularizer, regularizers: Sequence[Regularizer]) -> Iterator[Conflict]:
    """Techniques and tags that `r` requires and that are not there."""
    names = {word for other in regularizers for word in (other.name, *other.tags)}
    for requirement, reason in r.requires.items():
        if requirement not in names:
            hint = " or ".join(f"+regularizer={n}" for n in find_providers(requirement))
            yield frozenset((r.name, requirement)), Problem(f"regularizer.{r.name}", reason, hint)


def _incompatible_pairs(r: Regularizer, regularizers: Sequence[Regularizer]) -> Iterator[Conflict]:
    """Techniques with which `r` is incompatible, by their names or tags."""
    for other in regularizers:
        if other is not r:
            for word in sorted({other.name, *other.tags} & set(r.incompatible)):
                yield _pair(r.name, other.name, r.incompatible[word])


def _condition_conflicts(r: Regularizer, run_conditions: Sequence[str]) -> Iterator[Conflict]:
    """Conditions of the trainer with which `r` is incompatible."""
    for word in run_conditions:
        if word in r.incompatible:
            what = f"cannot run under {word}: {r.incompatible[word]}"
            yield frozenset((r.name, word)), Problem(f"regularizer.{r.name}", what, f"~regularizer.{r.name}")


def _pair(name: str, other: str, reason: str) -> Conflict:
    what, hint = f"cannot run beside {other}: {reason}", f"~regularizer.{name} or ~regularizer.{other}"
    return frozenset((name, other)), Problem(f"regularizer.{name}", what, hint)


def named_parameters(model: nn.Module) -> tuple[NamedParameter, ...]:
    """All parameters, frozen ones too, with their owners and the numbers of their layers; each shared parameter once."""
    parameters: dict[int, NamedParameter] = {}  # by id
    layers = layer_numbers(model)
    for prefix, owner in model.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            full_name = f"{prefix}.{name}".lstrip(".")
            if id(parameter) not in parameters:
                parameters[id(parameter)] = NamedParameter(full_name, parameter, owner, layers[full_name])
    return tuple(parameters.values())


def _mix_groups(regularizers: list[Regularizer]) -> list[list[Regularizer]]:
    """Techniques with the same `one_of` as one group, at the position of the first of them; all others alone."""
    groups: list[list[Regularizer]] = []
    for r in regularizers:
        group = next((g for g in groups if r.one_of and g[0].one_of == r.one_of), None)
        if group is None:
            groups.append([r])
        else:
            group.append(r)
    return groups


def _short(value: Any) -> str:
    if isinstance(value, dict):  # a ramp
        return f"{value['start']:g}→{value['end']:g}"
    if isinstance(value, float):
        return f"{value:g}"
    return "[" + " ".join(map(str, value)) + "]" if isinstance(value, list) else "–" if value is None else str(value)
