"""PatchDropout (Liu et al., 2022, arXiv:2208.07220): a transformer is trained on a random part of each image's patches.

    tokens (B, N, D) → (B, N', D),   N' = max(1, round((1 − p) N)) of the patches, drawn for each image without replacement

It acts after the positions have been added. The class token always stays, and inference sees all patches. A step costs less than
the share 1 − p of a full one, because attention costs N².
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from regulo.core.ranges import ProperShare
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import require_sites
from regulo.regularizers.base import Regularizer


def drop_patches(patches: Tensor, p: float) -> Tensor:
    """A random part of the patches of each image, in their order: (B, N, D) → (B, N', D)."""
    images, n, width = patches.shape
    remaining = max(1, round((1 - p) * n))
    if remaining >= n:
        return patches
    indices = torch.rand(images, n, device=patches.device).topk(remaining, sorted=False).indices.sort(dim=1).values
    return patches.gather(1, indices[..., None].expand(-1, -1, width))


class PatchDropout(Regularizer):
    """Train a transformer on a random part of the patches of each image."""

    reference: ClassVar[str] = "arXiv:2208.07220"
    tags: ClassVar[frozenset[str]] = frozenset({"draws"})
    incompatible: ClassVar[dict[str, str]] = {
        "manifold_mixup": "the two images to be mixed would have tokens of different positions"
    }
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.2, {"p": Between(0.1, 0.5)})

    p: ProperShare = 0.25
    """p, the share of the patches that is dropped: .25 to .5. It cannot be a ramp, which would change shapes during the run"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        for site in require_sites(model, "tokens", "regularizer.patch_dropout"):
            site.insert(DropPatches(self.p, site.prefix))


class DropPatches(nn.Module):
    """Tokens (B, N, D) → the first `prefix` tokens and, in training, a random part of the others."""

    def __init__(self, p: float, prefix: int) -> None:
        super().__init__()
        self.p, self.prefix = p, prefix

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.training:
            return tokens
        return torch.cat([tokens[:, : self.prefix], drop_patches(tokens[:, self.prefix :], self.p)], dim=1)
