"""Sums and means over all processes, in place; with one process they change nothing."""

import torch
from torch import Tensor


def sum_over_ranks(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over all processes."""
    if world_size() > 1:
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


def mean_over_ranks(tensor: Tensor) -> None:
    """Replace a tensor by its mean over all processes."""
    if world_size() > 1:
        sum_over_ranks(tensor)
        tensor /= world_size()


def world_size() -> int:
    """The number of processes; 1 if this one is alone."""
    return torch.distributed.get_world_size() if torch.distributed.is_available() and torch.distributed.is_initialized() else 1


def is_true_anywhere(flag: bool, device: torch.device) -> bool:
    """Whether it is true in any process: what all of them can decide by."""
    count = torch.tensor(int(flag), device=device)
    sum_over_ranks(count)
    return bool(count)
