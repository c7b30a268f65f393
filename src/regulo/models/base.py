"""What every model is."""

from torch import nn

from regulo.core.registry import Spec
from regulo.core.types import Facts


class Model(Spec):
    """An architecture. It never knows that it is regularized: it only carries sites (`regulo.models.components.sites`)."""

    def build(self, facts: Facts) -> nn.Module:
        """A module from normalised images (B, C, H, W) float to logits (B, K), initialised from torch's generator."""
        raise NotImplementedError
