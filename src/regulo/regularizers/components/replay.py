"""Some techniques run the model more than once per step (SAM, R-Drop). The repeated passes must not change the statistics.

In `frozen_bn_stats`, BatchNorm does not update its running statistics, and the training module counts no images and no losses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

_REPLAYING: ContextVar[bool] = ContextVar("replaying", default=False)


def is_replay() -> bool:
    """Whether the current forward pass is a repeated one."""
    return _REPLAYING.get()


@contextmanager
def frozen_bn_stats(model: nn.Module) -> Iterator[None]:
    """Context for repeated forward passes of `model`: BatchNorm uses the statistics of the batch and keeps its running ones."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    token = _REPLAYING.set(True)
    for norm in norms:
        norm.track_running_stats = False  # BatchNorm then uses the batch and does not write
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        _REPLAYING.reset(token)
