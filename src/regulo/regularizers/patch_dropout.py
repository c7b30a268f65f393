"""PatchDropout (Liu et al., 2022, arXiv:2208.07220): a transformer is trained on a random part of each image's patches.

    tokens (B, N, D) → (B, N', D),   N' = max(1, round((1 − p) N)) of the patches, drawn for each image without replacement

after their positions have been added. The class token always stays, and inference sees all patches. Each step is cheaper by
more than p, since attention costs N².
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from regulo.core.ranges import ProperShare
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import require_sites
from regulo.regularizers.base import Regularizer


class PatchDropout(Regularizer):
    """Leave patches out of what a transformer sees in training."""

    reference: ClassVar[str] = "arXiv:2208.07220"
    tags: ClassVar[frozenset[str]] = frozenset({"draws"})
    incompatible: ClassVar[dict[str, str]] = {
        "manifold_mixup": "the tokens of two images that are mixed would lie in different places"
    }
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)

    p: ProperShare = 0.25
    """p, the share of the patches that is left out: .25 to .5. No ramp: it would change the shapes while the run goes on"""

    def surgery(self, model: nn.Module, facts: DatasetInfo) -> None:
        for site in require_sites(model, "tokens", "regularizer.patch_dropout"):
            site.insert(DropPatches(self.p, site.prefix))


class DropPatches(nn.Module):
    """Keeps the first `prefix` tokens, and in training a random part of the others."""

    def __init__(self, p: float, prefix: int) -> None:
        super().__init__()
        self.p, self.prefix = p, prefix

    def forward(self, tokens: Tensor) -> Tensor:
        patches = tokens[:, self.prefix :]
        n, width = patches.shape[1:]
        kept = max(1, round((1 - self.p) * n))
        if not self.training or kept >= n:
            return tokens
        places = torch.rand(len(tokens), n, device=tokens.device).topk(kept, sorted=False).indices.sort(dim=1).values
        return torch.cat([tokens[:, : self.prefix], patches.gather(1, places[..., None].expand(-1, -1, width))], dim=1)
