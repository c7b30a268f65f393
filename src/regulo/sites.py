"""Sites: the places in a model where a regularizer may act, by kind and not by architecture.

A model (or the adapter of somebody else's model) carries sites; surgery finds them by kind. A site has no parameters and is the
identity until something is put into it, so state-dict keys are the same with and without surgery.

    conv        the activation after a convolution, (B, C, H, W)
    fc          a hidden activation of a fully connected part, or the features before the head, (B, …, D)
    attention   the attention weights after their softmax, (B, heads, N, N)
"""

from typing import Any, Literal, get_args

from torch import Tensor, nn

Kind = Literal["conv", "fc", "attention"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Site(nn.Module):
    """A place that passes an activation on, through whatever modules were put here."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.inner = nn.Sequential()

    def put(self, module: nn.Module) -> None:
        """Add a module that maps an activation to one of the same shape."""
        self.inner.append(module)

    def forward(self, activation: Tensor) -> Tensor:
        """The identity, as long as nothing has been put here."""
        for module in self.inner:
            activation = module(activation)
        return activation


class RateSite(nn.Module):
    """A place inside a fused kernel (attention), where only a dropout rate can be set, as an attribute of its owner."""

    def __init__(self, kind: Kind, owner: nn.Module, attribute: str) -> None:
        super().__init__()
        self.kind = kind
        self._owner = [owner]  # in a list: the owner holds this site, and must not become its child
        self._attribute = attribute

    def set_rate(self, p: float) -> None:
        """Drop each weight with probability p in training."""
        setattr(self._owner[0], self._attribute, p)


def sites(model: nn.Module, kind: Kind) -> list[Any]:
    """All sites of one kind, in the order in which the model registers them."""
    return [m for m in model.modules() if isinstance(m, Site | RateSite) and m.kind == kind]
