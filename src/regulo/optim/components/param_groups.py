"""Parameter groups: what regularizers say to the optimizer."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class NamedParameter:
    """A parameter, its dotted name, and the module that holds it."""

    name: str
    parameter: nn.Parameter
    owner: nn.Module
    layer: int = 0  # 0 before the first block, 1 to L in blocks, L + 1 behind the last


LAYERS_WITH_WEIGHTS = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)


def weight_matrices(model: nn.Module) -> dict[nn.Parameter, nn.Module]:
    """The trainable matrices and kernels of linear, convolutional and attention layers, with their owners; shared ones once."""
    found: dict[nn.Parameter, nn.Module] = {}
    for module in model.modules():
        if isinstance(module, LAYERS_WITH_WEIGHTS):
            for name, parameter in module.named_parameters(recurse=False):
                if name.endswith("weight") and parameter.requires_grad:
                    found.setdefault(parameter, module)
    return found


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that the optimizer treats alike."""

    members: tuple[NamedParameter, ...]
    weight_decay: float = 0.0  # λ
    decoupled: bool = True  # θ ← (1 − ηλ)θ beside the gradient step; False: λθ is added to the gradient
    lr_scale: float = 1.0  # the group's learning rate, as a multiple of the run's
