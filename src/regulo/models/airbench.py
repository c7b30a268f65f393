"""The network of airbench94 (Jordan, 2024, arXiv:2404.00498, section 3): few, wide layers, for fast training on small images.

    2 × 2 convolution that whitens patches → GELU → 3 groups of (conv, max pool, norm, GELU, conv, norm, GELU)
    → global max → linear, times 1 / 9

The kernels of the first convolution are not trained. They are the principal components of the patches of training images,
divided by the standard deviation along them, and their negatives. The other convolutions begin as the identity on their first
channels. Both can be switched off, to measure what they contribute.
"""

import itertools
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from regulo.core.types import DatasetInfo
from regulo.models.base import ModelConfig
from regulo.models.components.sites import Site

PATCH = 2
"""side of the patches that are whitened, in pixels"""
SMALLEST_VARIANCE = 5e-4
"""is added to the variances along the components, by some of which patches hardly differ"""
OUTPUT_SCALE = 1 / 9


class Airbench(ModelConfig):
    """The network that reaches 94% on CIFAR-10 in ten epochs, for images of at least 17 pixels."""

    reference: ClassVar[str] = "arXiv:2404.00498"

    widths: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=3, max_length=3)] = [64, 256, 256]
    """channels of the three groups"""
    whitening: bool = True
    """false: the first convolution begins at random, and is trained"""
    identity: bool = True
    """false: the other convolutions begin at random"""

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        return AirbenchNet(dataset_info, self)

    def initialize(self, model: nn.Module, images: Tensor) -> None:
        assert isinstance(model, AirbenchNet)
        if not self.whitening:
            return
        components = whiten(images)
        with torch.no_grad():
            model.whitening.weight.copy_(torch.cat([components, -components]))


def whiten(images: Tensor) -> Tensor:
    """The kernels (C · 4, C, 2, 2) that whiten the patches of normalized images (n, C, H, W), the largest component first."""
    channels = images.shape[1]
    patches = F.unfold(images.double(), PATCH).transpose(1, 2).reshape(-1, channels * PATCH * PATCH)
    centered = patches - patches.mean(0)
    covariance = centered.T @ centered / (len(patches) - 1)
    variances, components = torch.linalg.eigh(covariance)
    kernels = components.T.flip(0) / (variances.flip(0)[:, None] + SMALLEST_VARIANCE).sqrt()
    return kernels.reshape(-1, channels, PATCH, PATCH).float()


class ConvGroup(nn.Module):
    """Half the height and width, and other channels: y = gelu(norm(conv(gelu(norm(max pool(conv(x)))))))."""

    def __init__(self, c_in: int, c_out: int, identity: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(c, c_out, 3, padding=1, bias=False) for c in (c_in, c_out))
        self.norm1, self.norm2 = (nn.BatchNorm2d(c_out, momentum=0.4) for _ in range(2))
        self.site, self.out = Site("conv"), Site("trunk")
        for conv in (self.conv1, self.conv2) if identity else ():
            nn.init.dirac_(conv.weight.data[: conv.in_channels])
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad_(False)  # the next convolution can scale, too

    def forward(self, x: Tensor) -> Tensor:
        x = self.site(F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2))))
        return self.out(F.gelu(self.norm2(self.conv2(x))))


class AirbenchNet(nn.Module):
    """Images (B, C, H, W) to logits (B, K)."""

    def __init__(self, dataset_info: DatasetInfo, config: Airbench) -> None:
        super().__init__()
        components = dataset_info.channels * PATCH * PATCH
        self.whitening = nn.Conv2d(dataset_info.channels, 2 * components, PATCH)
        self.whitening.weight.requires_grad_(not config.whitening)
        nn.init.zeros_(self.whitening.bias)  # type: ignore[arg-type]
        sizes = [2 * components, *config.widths]
        self.blocks = nn.Sequential(*(ConvGroup(*pair, config.identity) for pair in itertools.pairwise(sizes)))
        self.site = Site("fc")
        self.head = nn.Linear(config.widths[-1], dataset_info.num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(F.gelu(self.whitening(images))).amax(dim=(2, 3))
        return self.head(self.site(features)) * OUTPUT_SCALE
