"""Gradient checkpointing (Chen et al., 2016, arXiv:1604.06174): memory for activations is exchanged for time.

A block keeps only its input, and is computed again in the backward pass: with the same random numbers, and without a second
update of BatchNorm's running statistics, which timm's and torch's own checkpointing would make.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from regulo.core.errors import InputError, Problem
from regulo.models.components.sites import block_numbers


def checkpoint_blocks(model: nn.Module) -> None:
    """Let every block of a model be computed again in the backward pass. Raises InputError if the model has no block."""
    names = block_numbers(model)
    if not names:
        what = "this model is not made of blocks that can be computed again"
        raise InputError(Problem("trainer.gradient_checkpointing", what, "false"))
    for name in names:
        block = model.get_submodule(name)
        block.forward = functools.partial(_forward, block, block.forward)


def _forward(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    contexts = functools.partial(_contexts, block)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def _contexts(block: nn.Module) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
    """The contexts of the forward pass and of the repeated one."""
    return contextlib.nullcontext(), _unchanged_bn_stats(block)


@contextlib.contextmanager
def _unchanged_bn_stats(block: nn.Module) -> Iterator[None]:
    """BatchNorm saves the same tensors as before, which checkpointing requires, and adds nothing to its running statistics."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()  # the pass counts in the copy
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum, norm.num_batches_tracked = momentum, batches
