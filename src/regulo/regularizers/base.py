"""What a regularizer is, and the places in the training flow that it may touch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from torch import Tensor, nn

from regulo.batch import Facts
from regulo.groups import ParamGroup
from regulo.spec import Spec

if TYPE_CHECKING:
    from lightning.pytorch import Callback


@dataclass(frozen=True)
class Goal:
    """What the run calls its best epoch."""

    monitor: str
    mode: Literal["min", "max"]


class Regularizer(Spec):
    """One technique. It overrides the hooks it uses; a hook left alone costs nothing.

    Hooks run in the order in which the data meets them, which is the order below; within a hook, by `order`, then by name.
    """

    order: ClassVar[int] = 0
    """place among techniques that share a hook: lower ones first"""
    turns: ClassVar[str] = ""
    """of the techniques that name the same group here, one is drawn per batch: each alone relabels a batch rightly"""
    keeps_best: ClassVar[bool] = False
    """the run hands on the weights of its best epoch, not of its last one"""

    def transform(self, pipeline: list[Any], facts: Facts) -> list[Any]:
        """Extend the albumentations transforms that a training image (H, W, C) uint8 goes through in a loader worker.

        `pipeline` begins with what brings the data set's files to the size in `facts`.
        """
        raise NotImplementedError

    def surgery(self, model: nn.Module, facts: Facts) -> None:
        """Change the model in place, before its parameters are grouped. Raise Refused if it lacks the site."""
        raise NotImplementedError

    def param_groups(self, groups: Sequence[ParamGroup]) -> list[ParamGroup]:
        """Regroup the parameters. Every parameter must stay in exactly one group."""
        raise NotImplementedError

    def mix(self, images: Tensor, targets: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A training batch on the device: normalised images (B, C, H, W), soft targets (B, K) whose rows sum to one."""
        raise NotImplementedError

    def callbacks(self, goal: Goal) -> "list[Callback]":
        """Lightning callbacks that act on the run."""
        raise NotImplementedError


HOOKS = ("transform", "surgery", "param_groups", "mix", "callbacks")


def hooks(regularizer: Regularizer) -> tuple[str, ...]:
    """The hooks that a technique uses, in flow order."""
    return tuple(h for h in HOOKS if getattr(type(regularizer), h) is not getattr(Regularizer, h))
