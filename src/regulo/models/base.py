"""The base class of all models."""

from torch import nn

from regulo.core.registry import PluginConfig
from regulo.core.types import DatasetInfo


class ModelConfig(PluginConfig):
    """The config of an architecture. It knows no regularizer, but has sites for them (`regulo.models.components.sites`)."""

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        """A module from normalized images (B, C, H, W) float to logits (B, K), initialized with torch's generator."""
        raise NotImplementedError
