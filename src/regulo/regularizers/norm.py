"""Normalisation, swapped: y = γ (x − E[x]) / √(Var[x] + ε) + β. The techniques differ in what E and Var run over.

batch   each channel over the batch and all places, running averages in inference (arXiv:1502.03167)
layer   each image alone: over channels and places of a map, over channels of a token (arXiv:1607.06450)
group   each image alone, within groups of channels (arXiv:1803.08494)
none    the identity
"""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.core.types import DatasetInfo
from regulo.models.components.norms import NORMS
from regulo.models.components.sites import replace_module
from regulo.regularizers.base import Regularizer


class Norm(Regularizer):
    """Replace every normalisation layer of the model by one kind."""

    reference: ClassVar[str] = "arXiv:1502.03167; 1607.06450; 1803.08494"

    kind: Literal["batch", "layer", "group", "none"] = "batch"
    """what to normalise over"""
    groups: Annotated[int, Field(ge=1)] = 8
    """channel groups of `group`; a width they do not divide takes their greatest common divisor"""

    def surgery(self, model: nn.Module, facts: DatasetInfo) -> None:
        layers = [(name, m) for name, m in model.named_modules() if isinstance(m, NORMS)]
        if not layers:
            raise InputError(Problem("regularizer.norm", "this model has no normalisation layer to swap", "~regularizer.norm"))
        for name, layer in layers:
            replace_module(model, name, self._swap(layer))

    def _swap(self, old: nn.Module) -> nn.Module:
        channels, eps = _channels(old), old.eps
        groups = math.gcd(self.groups, channels)
        if self.kind == "none":
            return nn.Identity()
        if _channels_first(old):
            new = {
                "batch": lambda: nn.BatchNorm2d(channels, eps=eps),  # type: ignore[arg-type]
                "layer": lambda: nn.GroupNorm(1, channels, eps=eps),  # type: ignore[arg-type]
                "group": lambda: nn.GroupNorm(groups, channels, eps=eps),  # type: ignore[arg-type]
            }
        else:
            new = {
                "batch": lambda: TokenBatchNorm(channels, eps=eps),  # type: ignore[arg-type]
                "layer": lambda: nn.LayerNorm(channels, eps=eps),  # type: ignore[arg-type]
                "group": lambda: TokenGroupNorm(groups, channels, eps=eps),  # type: ignore[arg-type]
            }
        return new[self.kind]()


class TokenBatchNorm(nn.Module):
    """BatchNorm of each channel over batch and places, for activations (B, …, D)."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels, eps=eps)  # a child, which SyncBatchNorm can take the place of

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(input.flatten(0, -2)).view_as(input)


class TokenGroupNorm(nn.GroupNorm):
    """GroupNorm over places and channel groups, for activations (B, …, D)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(-1, 1)).movedim(1, -1)


def _channels(layer: nn.Module) -> int:
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1]
    return layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features  # type: ignore[return-value]


def _channels_first(layer: nn.Module) -> bool:
    """Whether the layer sees (B, C, H, W). torchvision's LayerNorm2d does, although it is a LayerNorm."""
    return not isinstance(layer, nn.LayerNorm | nn.BatchNorm1d) or type(layer).__name__ == "LayerNorm2d"
