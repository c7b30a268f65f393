"""The one door to albumentations, so that the right package comes in, quietly and strictly."""

import importlib.metadata
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from regulo.errors import Problem, Refused


def albumentations() -> ModuleType:
    """Import albumentations 2.0.8 (MIT). Raises Refused if the AGPL package that shares its import name is installed."""
    try:
        importlib.metadata.distribution("albumentationsx")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        what = "albumentationsx is installed; it is AGPL and takes the import name of albumentations"
        raise Refused(Problem("environment", what, "pip uninstall albumentationsx && make setup"))
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it calls home otherwise
    import albumentations

    return albumentations


@contextmanager
def strictly() -> Iterator[None]:
    """Within: a misspelt argument of a transform, for which albumentations only warns, is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        yield
