"""The base class of all models."""

from collections import OrderedDict
from pathlib import Path

from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.core.input_spec import InputSpec
from regulo.core.paths import PathStr, expand_path
from regulo.core.registry import PluginConfig
from regulo.core.types import DatasetInfo


class ModelConfig(PluginConfig):
    """The config of an architecture. It knows no regularizer, but has sites for them (`regulo.models.components.sites`)."""

    weights: PathStr | None = None
    """weights to begin with: a run folder, a checkpoint of a run, a file of torchvision, timm or Lightning (.pth, .pt,
    .safetensors), or a folder with one such file; null: random"""
    rename: dict[str, str] = {}
    """beginnings of names in the file of weights, with what replaces them, such as {backbone.: ""}; of several that fit, the
    longest"""

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        """A module from normalized images (B, C, H, W) float to logits (B, K), initialized with torch's generator.

        `regulo.models.components.weights.build_with_weights` loads the file of `weights` into it.
        """
        raise NotImplementedError

    def initialize(self, model: nn.Module, images: Tensor) -> None:
        """Change the first weights of `model` by training images: normalized, not augmented (n, C, H, W), in a fixed order.

        It is called before training if `weights` names none. A resumed run has the weights of its checkpoint.
        """
        raise NotImplementedError

    def head_names(self, model: nn.Module, num_classes: int) -> list[str]:
        """The names of the layers that output the logits: here the last layer with `num_classes` outputs; empty without one."""
        layers = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        sizes = [(name, m.out_features if isinstance(m, nn.Linear) else m.out_channels) for name, m in layers]
        return [name for name, size in sizes if size == num_classes][-1:]

    def published_weights(self) -> tuple[str, "OrderedDict[str, Tensor]"]:
        """The weights that the library of this architecture publishes: their name, for people, and the state dict.

        It is called if `weights` names no path. Raises InputError if they are not there.
        """
        raise NotImplementedError

    def input_spec(self) -> InputSpec | None:
        """What the published weights of this architecture expect of their input; None if that is not known.

        It also holds for a file of weights, unless a run has saved it.
        """
        return None

    def convert_state(self, state: "OrderedDict[str, Tensor]", model: nn.Module) -> "OrderedDict[str, Tensor]":
        """A state dict of this architecture, for another image size or with older names, in the form that fits `model`."""
        return state

    def weights_path(self) -> Path | None:
        """The file or folder of `weights`; None if it names none. Raises InputError if it does not exist."""
        if not isinstance(self.weights, PathStr):
            return None
        path = expand_path(self.weights)
        if not path.exists():
            raise InputError(Problem("model.weights", f"there is no file {path}"))
        return path
