"""What a regularizer is, and the places in the training flow that it may touch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from regulo.core.registry import PluginConfig
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp, resolve
from regulo.core.types import DatasetInfo, LossInputs
from regulo.optim.components.param_groups import ParamGroup

if TYPE_CHECKING:
    from lightning.pytorch import Callback


@dataclass(frozen=True)
class Goal:
    """What the run calls its best epoch."""

    monitor: str
    mode: Literal["min", "max"]


class Regularizer(PluginConfig):
    """One technique. It overrides the hooks it uses; a hook left alone costs nothing.

    Hooks run in the order in which the data meets them, which is the order below; within a hook, by `order`, then by name.
    A field that may be a `Ramp` is one number whenever a hook is called, except in `surgery`, which is called once and hands
    the field to a `Dial`.
    """

    order: ClassVar[int] = 0
    """place among techniques that share a hook: lower ones first"""
    one_of: ClassVar[str] = ""
    """of the techniques that name the same group here, one is drawn per batch: each alone relabels a batch rightly"""
    keeps_best: ClassVar[bool] = False
    """the run hands on the weights of its best epoch, not of its last one"""
    strength_fields: ClassVar[tuple[str, ...]] = ()
    """the fields that a recipe's `strength` multiplies, up to their highest value; with none, a technique is on or off"""
    tags: ClassVar[frozenset[str]] = frozenset()
    """what it does, in words to which others may refer: `draws` (answers differ from pass to pass), `augments`, `average`"""
    incompatible: ClassVar[dict[str, str]] = {}
    """techniques (by name), roles and circumstances of the trainer beside which it must not run, with the reason"""
    requires: ClassVar[dict[str, str]] = {}
    """techniques or roles without which it has no effect, with the reason"""

    def sequence(self, places: np.ndarray) -> np.ndarray:
        """The order in which an epoch visits the training images: their shuffled places (n,) in, places (n,) out."""
        raise NotImplementedError

    def transform(self, pipeline: list[Any], facts: DatasetInfo) -> list[Any]:
        """Extend the albumentations transforms that a training image (H, W, C) uint8 goes through in a loader worker.

        `pipeline` begins with what brings the data set's files to the size in `facts`. The last transform may stack views of
        the image in its channels, (H, W, V·C): the loss is taken on the first one, and a `penalty` may compare them.
        """
        raise NotImplementedError

    def surgery(self, model: nn.Module, facts: DatasetInfo) -> "Self | None":
        """Change the model in place, before its parameters are grouped. Raise InputError if it lacks the site.

        A technique whose later hooks act on what it put into the model returns a copy of itself that knows these modules, and
        the plan goes on with the copy. All others return None.
        """
        raise NotImplementedError

    def param_groups(self, groups: Sequence[ParamGroup]) -> list[ParamGroup]:
        """Regroup the parameters. Every parameter must stay in exactly one group."""
        raise NotImplementedError

    def wrap_optimizer(
        self, optimizer: torch.optim.Optimizer, model: nn.Module, now: "Callable[[], tuple[Self, StepContext]]"
    ) -> torch.optim.Optimizer:
        """An optimizer around the optimizer. `now()` gives this technique with its present strengths, and the moment."""
        raise NotImplementedError

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A training batch on the device: normalised images (B, C, H, W), soft targets (B, K) whose rows sum to one."""
        raise NotImplementedError

    def criterion(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of each image (B,) in place of soft cross-entropy, from logits and soft targets (B, K), in float32."""
        raise NotImplementedError

    def penalty(self, step: LossInputs) -> Tensor:
        """A scalar that is added to the loss of a step."""
        raise NotImplementedError

    def callbacks(self, goal: Goal) -> "list[Callback]":
        """Lightning callbacks that act on the run."""
        raise NotImplementedError

    def infer(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """The final answers on normalised images (B, C, H, W): "logits" (B, K), and further quantities (B,) by name."""
        raise NotImplementedError

    def calibrate(self, logits: Tensor, labels: Tensor) -> float:
        """A temperature T > 0, from validation logits (n, K) and labels (n,): the run's final answers are softmax(z / T)."""
        raise NotImplementedError

    def resolve(self, progress: float) -> Self:
        """The technique with the strengths of a progress in [0, 1] in place of its ramps."""
        ramps = {k: resolve(getattr(self, k), progress) for k in type(self).model_fields if isinstance(getattr(self, k), Ramp)}
        return self.model_copy(update=ramps) if ramps else self

    def with_strength(self, strength: float) -> "Self | None":
        """The technique at `strength` times what is written: a no-op at 0, or None if it is one that is on or off."""
        if not self.strength_fields:
            return self if strength else None
        update: dict[str, Any] = {}
        for name in self.strength_fields:
            written, top = getattr(self, name), field_maximum(type(self), name)
            if isinstance(written, Ramp):
                update[name] = written.scale(strength, top)
            elif isinstance(written, int):
                update[name] = int(min(round(written * strength), top))
            elif written is not None:
                update[name] = min(written * strength, top)
        return self.model_copy(update=update)


WHY_NOT_FSDP = "it works on whole weights, and each process has a part of every weight only"
"""why a technique refuses `fsdp`"""
HOOKS = (
    "sequence",
    "transform",
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


def used_hooks(regularizer: Regularizer) -> tuple[str, ...]:
    """The hooks that a technique uses, in flow order."""
    return tuple(h for h in HOOKS if getattr(type(regularizer), h) is not getattr(Regularizer, h))


@cache
def field_maximum(cls: type[Regularizer], name: str) -> float:
    """The highest value that a field may have (just below an open bound), or infinity."""
    schema = cls.model_json_schema()["properties"][name]
    for described in schema.get("anyOf", [schema]):
        if "maximum" in described:
            return float(described["maximum"])
        if "exclusiveMaximum" in described:
            return float(described["exclusiveMaximum"]) * (1 - 1e-3)
    return float("inf")
