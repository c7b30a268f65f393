"""A small vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929), pre-norm as in its equations 1 to 4."""

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from regulo.core.ranges import Positive
from regulo.core.schedule import RampBuffer, inverted_dropout
from regulo.core.types import DatasetInfo
from regulo.models.base import ModelConfig
from regulo.models.components.sites import RateSite, Site


class ViTTiny(ModelConfig):
    """patches → linear embedding + position → encoder blocks → norm → pooled token → linear. Any image size."""

    reference: ClassVar[str] = "arXiv:2010.11929"

    patch_size: Annotated[int, Field(ge=1)] | None = None
    """side of a patch in pixels; null: a quarter of the side up to 64 pixels (16 tokens), else 16. Images are padded to fit"""
    width: Annotated[int, Field(ge=1, le=4096)] = 64
    """D, the width of the embedding; a multiple of `heads`"""
    depth: Annotated[int, Field(ge=1, le=128)] = 6
    """encoder blocks"""
    heads: Annotated[int, Field(ge=1)] = 4
    """attention heads"""
    mlp_ratio: Positive = 2.0
    """hidden width of the MLP, as a multiple of D"""
    layer_scale: Annotated[float, Field(gt=0, le=1)] | None = None
    """initial factor of every residual branch, learned per channel (arXiv:2103.17239), for deep models; null: none"""
    pool: Literal["class", "mean"] = "mean"
    """input of the head: the class token, or the mean of the patch tokens"""

    @model_validator(mode="after")
    def _check_heads(self) -> "ViTTiny":
        if self.width % self.heads:
            nearest = self.heads * max(1, round(self.width / self.heads))
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}; the nearest is {nearest}")
        return self

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        return ViT(dataset_info, self)


class Attention(nn.Module):
    """softmax(q kᵀ / √d) v per head, on tokens (B, N, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.dropout: float | RampBuffer = 0.0  # rate of the attention weights in training; the site sets it
        self.site = RateSite("attention", self, "dropout", accepts_buffer=True)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if isinstance(self.dropout, RampBuffer):  # a ramp: the fused kernel accepts only a constant rate
            weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
            output = inverted_dropout(weights, self.dropout.value if self.training else None) @ v
        else:
            output = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out(output.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """x ← x + γ₁ attention(norm(x)); x ← x + γ₂ mlp(norm(x)), with γ = 1 if there is no layer scale."""

    def __init__(self, width: int, heads: int, hidden_width: int, scale: float | None) -> None:
        super().__init__()
        self.scale1 = nn.Parameter(torch.full((width,), scale)) if scale else 1.0
        self.scale2 = nn.Parameter(torch.full((width,), scale)) if scale else 1.0
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden_width), nn.GELU(), Site("fc"), nn.Linear(hidden_width, width))
        self.residual1, self.residual2 = Site("residual"), Site("residual")
        self.out_site = Site("trunk")

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.residual1(self.scale1 * self.attention(self.norm1(x)))
        return self.out_site(x + self.residual2(self.scale2 * self.mlp(self.norm2(x))))


class ViT(nn.Module):
    """Images (B, C, H, W) to logits (B, K)."""

    def __init__(self, dataset_info: DatasetInfo, config: ViTTiny) -> None:
        super().__init__()
        side = max(dataset_info.height, dataset_info.width)
        patch = config.patch_size or (-(-side // 4) if side <= 64 else 16)
        self.pad = (0, -dataset_info.width % patch, 0, -dataset_info.height % patch)
        tokens = -(-dataset_info.height // patch) * -(-dataset_info.width // patch)
        self.embed = nn.Conv2d(dataset_info.channels, config.width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width)) if config.pool == "class" else None
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens + (config.pool == "class"), config.width))
        self.tokens = Site("tokens", prefix=int(config.pool == "class"))
        hidden_width = round(config.width * config.mlp_ratio)
        self.blocks = nn.Sequential(
            *(Block(config.width, config.heads, hidden_width, config.layer_scale) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.width)
        self.site = Site("fc")
        self.head = nn.Linear(config.width, dataset_info.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(F.pad(images, self.pad)).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
        x = self.norm(self.blocks(self.tokens(x + self.position)))
        return self.head(self.site(x[:, 0] if self.class_token is not None else x.mean(dim=1)))
