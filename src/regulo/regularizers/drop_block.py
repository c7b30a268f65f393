"""DropBlock (Ghiasi et al., 2018, arXiv:1810.12890, algorithm 1): drop squares of a feature map. A single unit
would not be enough, because its neighbors carry the same information.

    seeds ~ Bernoulli(γ) where a whole block fits,   γ = p · H W / (s² (H − s + 1)(W − s + 1))
    mask M = 0 in the s × s block at each seed;      h ← h · M · |M| / ΣM

Blocks are drawn for each channel. In inference it is the identity. Blocks overlap, so slightly less than p is dropped.
"""

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from regulo.core.ranges import Share
from regulo.core.schedule import Rampable, RampBuffer
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import require_sites
from regulo.regularizers.base import Regularizer


def drop_blocks(x: Tensor, p: Tensor, block_size: int) -> Tensor:
    """Compute h · M · |M| / ΣM of maps (B, C, H, W); p is a scalar tensor ()."""
    height, width = x.shape[2:]
    s = min(block_size, height, width)
    s -= 1 - s % 2
    corners = x[:, :, s - 1 :, s - 1 :]  # its shape: one entry for each position of a block
    gamma = p * (height * width / (s**2 * corners.shape[2:].numel()))
    seeds = torch.rand_like(corners, dtype=torch.float32) < gamma
    mask = 1 - F.max_pool2d(F.pad(seeds.to(x.dtype), [s - 1] * 4), s, stride=1)
    ones = mask.count_nonzero().clamp(min=1)  # an integer, exact for any size
    return x * (mask * (mask.numel() / ones)).to(x.dtype)


class DropBlock2d(nn.Module):
    """DropBlock on maps (B, C, H, W)."""

    def __init__(self, p: float, block_size: int) -> None:
        super().__init__()
        self.p, self.block_size = RampBuffer(p), block_size

    def forward(self, x: Tensor) -> Tensor:
        return drop_blocks(x, self.p.value, self.block_size) if self.training else x


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"the side of a block must be odd, such as {size - 1} or {size + 1}")
    return size


class DropBlock(Regularizer):
    """Drop square blocks of the maps after convolutions."""

    reference: ClassVar[str] = "arXiv:1810.12890; torchvision.ops.drop_block2d"
    tags: ClassVar[frozenset[str]] = frozenset({"draws"})
    strength_fields: ClassVar[tuple[str, ...]] = ("p",)
    search_space: ClassVar[SearchSpace] = SearchSpace(0.1, {"p": Between(0.03, 0.2)})

    p: Rampable[Share] = 0.1
    """p, approximately the share of each map that is dropped: .1; the paper ramps it up from 0 over the run"""
    block_size: Annotated[int, Field(ge=1), AfterValidator(_odd)] = 7
    """s, the odd side of a block in pixels; a smaller map gets the largest odd side that fits. 1 is dropout of single units"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        for site in require_sites(model, "conv", "regularizer.drop_block"):
            site.insert(DropBlock2d(self.p, self.block_size))
