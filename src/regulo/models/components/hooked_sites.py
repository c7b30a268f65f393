"""Sites in the models of other libraries: children without parameters, which forward hooks call, so that state-dict keys stay."""

import functools
from typing import Any

from torch import Tensor, nn

from regulo.models.components.sites import Site

ACTIVATIONS = frozenset(
    (
        *("CELU", "ELU", "GELU", "Hardswish", "LeakyReLU", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU"),  # of torch
        *("GELUTanh", "HardMish", "HardSwish", "QuickGELU", "SquaredReLU", "StarReLU", "Swish"),  # of timm
    )
)
"""names of the classes of activations, without gates, such as Sigmoid"""


def add_site_after(module: nn.Module, site: Site, name: str = "site") -> None:
    """Let the output of a module go through a site, which becomes its child `name`."""
    module.add_module(name, site)
    module.register_forward_hook(functools.partial(_apply_after, name))


def add_site_before(module: nn.Module, site: Site, name: str = "site") -> None:
    """Let the first argument of a module go through a site, which becomes its child `name`."""
    module.add_module(name, site)
    module.register_forward_pre_hook(functools.partial(_apply_before, name))


def _apply_after(name: str, module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return module.get_submodule(name)(output)


def _apply_before(name: str, module: nn.Module, args: Any) -> tuple[Any, ...]:
    return (module.get_submodule(name)(args[0]), *args[1:])


class ActivationProbe:
    """Hooks on the modules of a model. In a forward pass they record the kind of layer that ran last before each activation."""

    def __init__(self, model: nn.Module) -> None:
        self.kinds: dict[str, str] = {}  # kind of site, by the name of the activation module
        self._last_layer, self._channels = "", 0
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(self._record_layer)
            elif type(module).__name__ in ACTIVATIONS:
                module.register_forward_hook(functools.partial(self._record_activation, name))

    def _record_layer(self, module: nn.Module, args: Any, output: Tensor) -> None:
        self._last_layer = "conv" if isinstance(module, nn.Conv2d) else "fc"
        self._channels = output.shape[1]

    def _record_activation(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        # a squeeze-and-excitation has maps of one pixel; (B, H, W, C) is not a map of the convolution before
        is_map = output.ndim == 4 and output.shape[2:].numel() > 1 and output.shape[1] == self._channels
        if self._last_layer == "fc" or is_map:
            self.kinds[name] = self._last_layer
