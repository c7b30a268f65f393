"""What every model is."""

from torch import nn

from regulo.core.registry import PluginConfig
from regulo.core.types import DatasetInfo


class ModelConfig(PluginConfig):
    """An architecture. It never knows that it is regularized: it only carries sites (`regulo.models.components.sites`)."""

    def build(self, facts: DatasetInfo) -> nn.Module:
        """A module from normalised images (B, C, H, W) float to logits (B, K), initialised from torch's generator."""
        raise NotImplementedError
