"""Ghost batch normalization (Hoffer et al., 2017, arXiv:1705.08741, algorithm 1): BatchNorm over chunks of a large batch.

    training    each chunk of about `size` images is normalized with its own mean and variance; the chunks update the running
                statistics one after the other:  μ̄ ← (1 − η) μ̄ + η μ_chunk
    inference   running statistics, as in BatchNorm

The smaller the chunk, the noisier its statistics. This noise regularizes small batches.
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.core.search_space import Choice, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import replace_module
from regulo.regularizers.base import Regularizer


class GhostBatchNorm2d(nn.BatchNorm2d):
    """Ghost batch norm of maps (B, C, H, W), with the parameters and the running statistics of an existing BatchNorm."""

    def __init__(self, norm: nn.BatchNorm2d, chunk_size: int) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta")
        self.weight, self.bias, self.chunk_size = norm.weight, norm.bias, chunk_size
        for name, statistic in norm.named_buffers(recurse=False):
            self.register_buffer(name, statistic)

    def forward(self, input: Tensor) -> Tensor:
        chunks = len(input) // self.chunk_size
        if not self.training or chunks < 2:
            return super().forward(input)
        return torch.cat([super(GhostBatchNorm2d, self).forward(chunk) for chunk in input.tensor_split(chunks)])


class GhostBatchNorm(Regularizer):
    """Let each BatchNorm of maps see only a few images at a time. BatchNorm of tokens is not changed: its rows are not images."""

    reference: ClassVar[str] = "arXiv:1705.08741"
    incompatible: ClassVar[dict[str, str]] = {
        "sync_batchnorm": "it takes statistics over all devices, and ghost batch norm over a part of the batch of one device"
    }
    order: ClassVar[int] = 10  # after `norm`, which may have put the BatchNorm there
    search_space: ClassVar[SearchSpace] = SearchSpace(0.1, {"size": Choice((16, 32))})

    size: Annotated[int, Field(ge=2)] = 32
    """images per chunk, 16 to 128; other batch sizes are cut into nearly equal chunks of at least this size"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        norms = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
        if not norms:
            what = "this model has no BatchNorm over maps"
            raise InputError(Problem("regularizer.ghost_batch_norm", what, "~regularizer.ghost_batch_norm"))
        for name, norm in norms:
            replace_module(model, name, GhostBatchNorm2d(norm, self.size))
