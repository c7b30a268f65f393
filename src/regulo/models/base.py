"""The base class of all models."""

from pathlib import Path

from torch import nn

from regulo.core.errors import InputError, Problem
from regulo.core.paths import PathStr, expand_path
from regulo.core.registry import PluginConfig
from regulo.core.types import DatasetInfo


class ModelConfig(PluginConfig):
    """The config of an architecture. It knows no regularizer, but has sites for them (`regulo.models.components.sites`)."""

    weights: PathStr | None = None
    """weights to begin with: a run folder, a checkpoint of a run, or a file of torchvision, timm or Lightning; null: random"""

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        """A module from normalized images (B, C, H, W) float to logits (B, K), initialized with torch's generator.

        `regulo.models.components.weights.build_with_weights` loads the file of `weights` into it.
        """
        raise NotImplementedError

    def weights_path(self) -> Path | None:
        """The file or folder of `weights`; None if `build` needs none. Raises InputError if it does not exist."""
        if self.weights is None:
            return None
        path = expand_path(self.weights)
        if not path.exists():
            raise InputError(Problem("model.weights", f"there is no file {path}"))
        return path
