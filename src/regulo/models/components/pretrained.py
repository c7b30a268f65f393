"""Architectures of a library that publishes weights for them."""

from typing import Any, Literal

from regulo.core.errors import InputError, Problem
from regulo.core.paths import PathStr
from regulo.models.base import ModelConfig


class PretrainedModelConfig(ModelConfig):
    """An architecture of a library that publishes weights for it."""

    weights: PathStr | Literal[True] | None = None  # type: ignore[assignment]
    """weights to begin with: true for those that the library publishes (downloaded), or a file or folder as for any model; null:
    random"""


def download_error(what: str, file: str, folder: Any) -> InputError:
    """The error of published weights that are neither in the cache nor can be downloaded. `file`: its name or address."""
    hint = f"download {file} where there is a network, and place it in {folder}, or give its path as model.weights=FILE"
    return InputError(Problem("model.weights", what, hint))
