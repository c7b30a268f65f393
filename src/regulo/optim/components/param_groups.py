"""Parameter groups: how regularizers set options of the optimizer."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class NamedParameter:
    """A parameter, its dotted name, and the module that has it."""

    name: str
    parameter: nn.Parameter
    owner: nn.Module
    layer: int = 0  # 0 before the first block, 1 to L in blocks, L + 1 after the last


LAYERS_WITH_WEIGHTS = (nn.Linear, nn.modules.conv._ConvNd, nn.MultiheadAttention)


def weight_matrices(model: nn.Module) -> dict[nn.Parameter, nn.Module]:
    """The trainable weights of linear, convolutional and attention layers, with their owners; each shared one once."""
    owners: dict[nn.Parameter, nn.Module] = {}
    for module in model.modules():
        if isinstance(module, LAYERS_WITH_WEIGHTS):
            for name, parameter in module.named_parameters(recurse=False):
                if name.endswith("weight") and parameter.requires_grad:
                    owners.setdefault(parameter, module)
    return owners


@dataclass(frozen=True)
class ParamGroup:
    """Parameters with the same options of the optimizer."""

    members: tuple[NamedParameter, ...]
    weight_decay: float = 0.0  # λ
    decoupled: bool = True  # θ ← (1 − ηλ)θ apart from the gradient step; False: λθ is added to the gradient
    lr_scale: float = 1.0  # learning rate of the group, as a multiple of that of the run
