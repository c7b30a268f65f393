"""Sums and means over all processes, in place; with one process they change nothing."""

import torch
from torch import Tensor


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def mean_over_ranks(tensor: Tensor) -> None:
    """Replace a tensor by its mean over all processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor)
        tensor /= torch.distributed.get_world_size()
