"""The base class of all regularizers: the hooks by which a technique acts on training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from regulo.core.registry import PluginConfig
from regulo.core.rng import ImageDraws, StepContext
from regulo.core.schedule import Ramp, resolve
from regulo.core.search_space import SearchSpace
from regulo.core.types import DatasetInfo, LossInputs
from regulo.optim.components.param_groups import ParamGroup

if TYPE_CHECKING:
    from lightning.pytorch import Callback


@dataclass(frozen=True)
class Goal:
    """Which epoch of a run is the best one: that with the lowest or highest value of the metric `monitor`."""

    monitor: str
    mode: Literal["min", "max"]


class Regularizer(PluginConfig):
    """One technique. It overrides the hooks that it uses; other hooks cost nothing.

    Hooks run in the order below. Techniques that share a hook run by `order`, then by name. A field that may be a `Ramp` is a
    number in every hook but `surgery`, which is called once and puts the field into a `RampBuffer`.
    """

    order: ClassVar[int] = 0
    """position among techniques that share a hook: lower ones run first"""
    one_of: ClassVar[str] = ""
    """a group name; for each batch, one technique of the group is drawn, because two of them together would give wrong labels"""
    keeps_best: ClassVar[bool] = False
    """whether the final weights are those of the best epoch, not of the last one"""
    strength_fields: ClassVar[tuple[str, ...]] = ()
    """the fields that `strength` multiplies, up to their highest value; without any, a technique is on or off"""
    tags: ClassVar[frozenset[str]] = frozenset()
    """properties that others refer to: `draws` (predictions differ from pass to pass), `augments`, `average`, `balances` (rare
    classes count more)"""
    incompatible: ClassVar[dict[str, str]] = {}
    """techniques, tags and run conditions of the trainer with which it must not run, with the reasons"""
    requires: ClassVar[dict[str, str]] = {}
    """techniques or tags without which it has no effect, with the reasons"""
    search_space: ClassVar[SearchSpace] = SearchSpace()
    """what a search tries: whether the technique is on, and values of its fields"""

    def sequence(self, indices: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """The order in which an epoch visits the training images: shuffled indices (n,) → indices (n,).

        `labels` (n,) are those of the training images, by index. The generator depends on the seed and the epoch only: all
        processes must get the same order.
        """
        raise NotImplementedError

    def transform(self, pipeline: list[Any], dataset_info: DatasetInfo) -> list[Any]:
        """Extend the albumentations transforms of a training image (H, W, C) uint8; they run in a loader worker.

        `pipeline` begins with the transforms that resize the files of the data set to the size in `dataset_info`. The last
        transform may stack V views of the image in its channels, (H, W, V·C): the data loss is that of the first view, and a
        `penalty` may compare them.
        """
        raise NotImplementedError

    def transform_batch(self, images: Tensor, draws: ImageDraws) -> Tensor:
        """The same as `transform` for a whole batch: images (B, C, H, W) uint8 on their device → images of the same shape.

        Optional: it lets images that all have one size stay on the device. What it draws must have the distributions of what
        `transform` draws, and must come from `draws`, which has random numbers for each image.
        """
        raise NotImplementedError

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> "Self | None":
        """Change the model in place, before its parameters are grouped. Raises InputError if the model lacks the site.

        If later hooks need the modules that were inserted, return a copy of the technique that refers to them; the plan then uses
        the copy. Otherwise return None.
        """
        raise NotImplementedError

    def param_groups(self, groups: Sequence[ParamGroup]) -> list[ParamGroup]:
        """Regroup the parameters. Every parameter must stay in exactly one group."""
        raise NotImplementedError

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, resolve_step: "Callable[[], tuple[Self, StepContext]]"
    ) -> torch.optim.Optimizer:
        """An optimizer around the optimizer.

        `resolve_step()` returns this technique with the strengths of the current step, and the context of the step.
        """
        raise NotImplementedError

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Change a training batch on the device: normalized images (B, C, H, W), soft targets (B, K) whose rows sum to one."""
        raise NotImplementedError

    def criterion(self, logits: Tensor, targets: Tensor, class_counts: Tensor) -> Tensor:
        """The loss of each image (B,), instead of soft cross-entropy, from logits and soft targets (B, K) in float32.

        `class_counts` (K,) float32: the number of training images of each class.
        """
        raise NotImplementedError

    def penalty(self, inputs: LossInputs) -> Tensor:
        """A scalar () that is added to the loss of a step."""
        raise NotImplementedError

    def callbacks(self, goal: Goal) -> "list[Callback]":
        """Lightning callbacks for the run."""
        raise NotImplementedError

    def infer(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """The final predictions on normalized images (B, C, H, W): "logits" (B, K), and other quantities (B,) by name."""
        raise NotImplementedError

    def calibrate(self, logits: Tensor, labels: Tensor) -> float:
        """A temperature T > 0, from validation logits (n, K) and labels (n,): the final predictions are softmax(z / T)."""
        raise NotImplementedError

    def resolve(self, progress: float) -> Self:
        """The technique with a number for each ramp: its strength at a progress in [0, 1]."""
        ramps = {k: resolve(getattr(self, k), progress) for k in type(self).model_fields if isinstance(getattr(self, k), Ramp)}
        return self.model_copy(update=ramps) if ramps else self

    def with_strength(self, strength: float) -> "Self | None":
        """The technique with `strength` times the configured strength; at 0 one that does nothing, or None if it is on or off."""
        if not self.strength_fields:
            return self if strength else None
        update: dict[str, Any] = {}
        for name in self.strength_fields:
            value, maximum = getattr(self, name), field_maximum(type(self), name)
            if isinstance(value, Ramp):
                update[name] = value.scale(strength, maximum)
            elif isinstance(value, int):
                update[name] = int(min(round(value * strength), maximum))
            elif value is not None:
                update[name] = min(value * strength, maximum)
        return self.model_copy(update=update)


WHY_NOT_FSDP = "it works on whole weights, and each process has only a part of every weight"
"""the reason why a technique is incompatible with `fsdp`"""
HOOKS = (
    "sequence",
    "transform",
    "transform_batch",
    "surgery",
    "param_groups",
    "wrap_optimizer",
    "mix",
    "criterion",
    "penalty",
    "callbacks",
    "infer",
    "calibrate",
)
"""the hooks, in the order in which they run"""


def used_hooks(regularizer: Regularizer) -> tuple[str, ...]:
    """The hooks that a technique uses, in the order of `HOOKS`."""
    return tuple(h for h in HOOKS if getattr(type(regularizer), h) is not getattr(Regularizer, h))


@cache
def field_maximum(cls: type[Regularizer], name: str) -> float:
    """The highest value that a field may have (just below an open bound), or infinity."""
    schema = cls.model_json_schema()["properties"][name]
    for branch in schema.get("anyOf", [schema]):
        if "maximum" in branch:
            return float(branch["maximum"])
        if "exclusiveMaximum" in branch:
            return float(branch["exclusiveMaximum"]) * (1 - 1e-3)
    return float("inf")
