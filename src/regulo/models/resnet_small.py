"""A small residual network in the CIFAR style (He et al., 2016, arXiv:1512.03385, section 4.2)."""

from typing import Annotated, ClassVar

import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from regulo.core.types import DatasetInfo
from regulo.models.base import ModelConfig
from regulo.models.components.sites import Site


def _check_depth(depth: int) -> int:
    if (depth - 2) % 6:
        below = max(depth - (depth - 2) % 6, 8)
        raise ValueError(f"{depth} is not 6 n + 2; the nearest depths are {below} and {below + 6}")
    return depth


class ResNetSmall(ModelConfig):
    """conv stem → 3 stages of n residual blocks at w, 2w, 4w channels → global mean → linear. Any image size."""

    reference: ClassVar[str] = "arXiv:1512.03385"

    depth: Annotated[int, Field(ge=8, le=1202), AfterValidator(_check_depth)] = 8
    """number of layers with weights: 6 n + 2, such as 8, 14, 20"""
    width: Annotated[int, Field(ge=1, le=1024)] = 32
    """w, the channels of the first stage"""

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        return ResNet(dataset_info, blocks=(self.depth - 2) // 6, width=self.width)


class Block(nn.Module):
    """y = relu(x' + BN(conv(site(relu(BN(conv(x))))))), where x' is x, or a projection of x if the shape changes."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(c_out)
        self.site = Site("conv")
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(c_out)
        self.residual = Site("residual")
        self.out = Site("trunk")
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.site(F.relu(self.norm1(self.conv1(x))))
        return self.out(F.relu(self.shortcut(x) + self.residual(self.norm2(self.conv2(branch)))))


class ResNet(nn.Module):
    """Images (B, C, H, W) to logits (B, K)."""

    def __init__(self, dataset_info: DatasetInfo, blocks: int, width: int) -> None:
        super().__init__()
        side = max(dataset_info.height, dataset_info.width)
        stride = 1 if side <= 64 else 2 if side <= 128 else 4  # the stages are made for at most 64 pixels
        self.conv = nn.Conv2d(dataset_info.channels, width, max(3, 2 * stride - 1), stride, max(1, stride - 1), bias=False)
        self.norm = nn.BatchNorm2d(width)
        stages, c_in = [], width
        for stage in range(3):
            for block in range(blocks):
                c_out = width * 2**stage
                stages.append(Block(c_in, c_out, stride=2 if stage and not block else 1))
                c_in = c_out
        self.blocks = nn.Sequential(*stages)
        self.site = Site("fc")
        self.head = nn.Linear(c_in, dataset_info.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(F.relu(self.norm(self.conv(images)))).mean(dim=(2, 3))
        return self.head(self.site(features))
