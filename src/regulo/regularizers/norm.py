"""The kind of normalization:  y = γ (x − E[x]) / √(Var[x] + ε) + β.  The kinds differ in the set over which E and Var are taken.

    batch   for each channel, over the batch and all positions; running averages in inference (arXiv:1502.03167)
    layer   for each image, over channels and positions of a map; for each token, over its channels (arXiv:1607.06450)
    group   for each image, over the positions and the channels of a group (arXiv:1803.08494)
    none    the identity

γ and β of the new layers begin with 1 and 0.
"""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.core.search_space import Choice, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.norms import NORMS
from regulo.models.components.sites import replace_module
from regulo.regularizers.base import Regularizer


class TokenBatchNorm(nn.Module):
    """BatchNorm of each channel over the batch and all tokens, of activations (B, …, D)."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels, eps=eps)  # a child, so that SyncBatchNorm can replace it

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(input.flatten(0, -2)).view_as(input)


class TokenGroupNorm(nn.GroupNorm):
    """GroupNorm over all tokens of an image and groups of channels, of activations (B, …, D)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(-1, 1)).movedim(1, -1)


class Norm(Regularizer):
    """Replace every normalization layer of the model by one kind."""

    reference: ClassVar[str] = "arXiv:1502.03167; 1607.06450; 1803.08494"
    # named only: it makes another architecture
    search_space: ClassVar[SearchSpace] = SearchSpace(fields={"kind": Choice(("batch", "layer", "group"))})

    kind: Literal["batch", "layer", "group", "none"] = "batch"
    """the set over which E and Var are taken"""
    groups: Annotated[int, Field(ge=1)] = 8
    """number of channel groups for `group`; if it does not divide the channels, the greatest common divisor of both is used"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        layers = [(name, m) for name, m in model.named_modules() if isinstance(m, NORMS)]
        if not layers:
            raise InputError(Problem("regularizer.norm", "this model has no normalization layer to replace", "~regularizer.norm"))
        for name, layer in layers:
            replace_module(model, name, self._replacement(layer))

    def _replacement(self, old: nn.Module) -> nn.Module:
        if self.kind == "none":
            return nn.Identity()
        channels, eps, of_maps = _num_channels(old), float(old.eps), _sees_maps(old)  # type: ignore[arg-type]
        if self.kind == "batch":
            return nn.BatchNorm2d(channels, eps=eps) if of_maps else TokenBatchNorm(channels, eps=eps)
        if self.kind == "layer":
            return nn.GroupNorm(1, channels, eps=eps) if of_maps else nn.LayerNorm(channels, eps=eps)
        groups = math.gcd(self.groups, channels)
        return nn.GroupNorm(groups, channels, eps=eps) if of_maps else TokenGroupNorm(groups, channels, eps=eps)


def _num_channels(layer: nn.Module) -> int:
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1]
    return layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features  # type: ignore[return-value]


def _sees_maps(layer: nn.Module) -> bool:
    """Whether the layer normalizes maps (B, C, H, W). torchvision's LayerNorm2d does, although it is a LayerNorm."""
    return not isinstance(layer, nn.LayerNorm | nn.BatchNorm1d) or type(layer).__name__ == "LayerNorm2d"
