"""Variables of the environment that are changed for a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restore_variables(*names: str) -> Iterator[None]:
    """Context after which these variables are as they were before it, set or not."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
