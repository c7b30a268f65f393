"""Some optimizers want the gradient of one step more than once. What is computed again must leave no trace.

Within `replay`, BatchNorm leaves its running statistics alone, and the task counts neither images nor losses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

_REPLAYING: ContextVar[bool] = ContextVar("replaying", default=False)


def is_replay() -> bool:
    """Whether this step is being computed again."""
    return _REPLAYING.get()


@contextmanager
def frozen_bn_stats(model: nn.Module) -> Iterator[None]:
    """Within: forward passes of `model` are repetitions."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    token = _REPLAYING.set(True)
    for norm in norms:
        norm.track_running_stats = False  # it then uses the batch's statistics and keeps its running ones
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        _REPLAYING.reset(token)
