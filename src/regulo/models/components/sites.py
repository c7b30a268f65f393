"""Sites: the places in a model where a regularizer may act, by kind and not by architecture.

A model (or the adapter of a torchvision model) has sites, and surgery finds them by kind. A site has no parameters and is the
identity until a module is inserted, so state-dict keys are the same with and without surgery.

    conv        the activation after a convolution, (B, C, H, W)
    fc          a hidden activation of a fully connected part, or the features before the head, (B, …, D)
    attention   the attention weights after their softmax, (B, heads, N, N)
    residual    the branch of a residual block, before it is added to the shortcut, (B, C, H, W) or (B, N, D)
    trunk       the whole hidden state between two blocks, which no shortcut bypasses, (B, C, H, W) or (B, N, D)
    tokens      the tokens that enter a transformer, with their positions added, (B, N, D)

The module that has a `trunk` site is a block. The order of these sites numbers the layers of the model from input to output
(those of timm's models are numbered by timm).
"""

import weakref
from typing import Any, Literal, get_args

from torch import Tensor, nn

from regulo.core.errors import InputError, Problem
from regulo.core.schedule import Ramp, Rampable, RampBuffer, resolve

Kind = Literal["conv", "fc", "attention", "residual", "trunk", "tokens"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Site(nn.Module):
    """Passes an activation through the modules that were inserted."""

    def __init__(self, kind: Kind, prefix: int = 0) -> None:
        super().__init__()
        self.kind = kind
        self.prefix = prefix  # number of leading tokens that are not patches (the class token)
        self.inner = nn.Sequential()

    def insert(self, module: nn.Module) -> None:
        """Add a module that maps an activation to one of the same shape (at `tokens` it may drop tokens)."""
        self.inner.append(module)

    def forward(self, activation: Tensor) -> Tensor:
        """The identity if no module was inserted."""
        for module in self.inner:
            activation = module(activation)
        return activation


class RateSite(nn.Module):
    """A place inside a fused kernel (attention), where only a dropout rate can be set, as an attribute of the owner.

    `accepts_buffer`: the attribute may also be a `RampBuffer`. Otherwise a ramp sets the number in every step,
    and a compiled owner is compiled again for each value.
    """

    def __init__(self, kind: Kind, owner: nn.Module, attribute: str, accepts_buffer: bool = False) -> None:
        super().__init__()
        self.kind, self.accepts_buffer = kind, accepts_buffer
        self._owner = weakref.ref(owner)  # the owner is the parent of this site and must not become its child
        self._attribute = attribute
        self._rate: Rampable[float] = 0.0

    @property
    def owner(self) -> nn.Module:
        """The module whose rate is set. Raises ReferenceError if it no longer exists."""
        owner = self._owner()
        if owner is None:
            raise ReferenceError("the owner of this site no longer exists")
        return owner

    def set_rate(self, p: Rampable[float]) -> None:
        """Drop each weight with probability p in [0, 1) in training."""
        if self.accepts_buffer and isinstance(p, Ramp):
            setattr(self.owner, self._attribute, RampBuffer(p))
        else:
            self._rate = p
            self.update(0.0)

    @property
    def is_ramped(self) -> bool:
        """Whether the rate is another number in each step."""
        return isinstance(self._rate, Ramp)

    def update(self, progress: float) -> None:
        """Set the rate at a progress in [0, 1]."""
        if not isinstance(getattr(self.owner, self._attribute), RampBuffer):
            setattr(self.owner, self._attribute, resolve(self._rate, progress))

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: in the copy of a model, the owner is the copy of the owner."""
        return self.__dict__ | {"_owner": self.owner}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"_owner": weakref.ref(state["_owner"])})


def find_sites(model: nn.Module, kind: Kind) -> list[Any]:
    """All sites of one kind, in the order in which the model registers them."""
    return [m for m in model.modules() if isinstance(m, Site | RateSite) and m.kind == kind]


def require_sites(model: nn.Module, kind: Kind, key: str) -> list[Any]:
    """All sites of one kind. Raises InputError about the technique or field `key` if the model has none."""
    sites = find_sites(model, kind)
    if not sites:
        existing = ", ".join(k for k in KINDS if find_sites(model, k)) or "none"
        what = f"this model has no site of the kind {kind!r}; it has: {existing}"
        names_technique = key.count(".") == 1
        raise InputError(Problem(key, what, f"~{key}" if names_technique else f"set {key}=0"))
    return sites


def replace_module(model: nn.Module, name: str, new: nn.Module) -> None:
    """Replace a module by another one, and move its sites and its hooks to the new one."""
    old = model.get_submodule(name)
    for child_name, child in old.named_children():
        if isinstance(child, Site | RateSite):
            new.add_module(child_name, child)
    for hook in old._forward_hooks.values():
        new.register_forward_hook(hook)
    for pre_hook in old._forward_pre_hooks.values():
        new.register_forward_pre_hook(pre_hook)
    model.set_submodule(name, new)


def block_numbers(model: nn.Module) -> dict[str, int]:
    """Names of the blocks, with their numbers from input to output: 1 to L."""
    blocks = [name.rpartition(".")[0] for name, m in model.named_modules() if isinstance(m, Site) and m.kind == "trunk"]
    return {name: i + 1 for i, name in enumerate(blocks)}


def layer_numbers(model: nn.Module) -> dict[str, int]:
    """Names of the parameters, with the numbers of their layers: 0 before the first block, 1 to L in blocks, L + 1 after them.

    The models of timm say it themselves: their blocks need no `trunk` site.
    """
    if hasattr(model, "group_matcher"):
        from timm.models import group_parameters

        return group_parameters(model, model.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
    numbers: dict[str, int] = {}
    blocks, layer = block_numbers(model), 0
    for prefix, owner in model.named_modules():
        block_number = next((n for block, n in blocks.items() if prefix == block or prefix.startswith(f"{block}.")), None)
        for name, _ in owner.named_parameters(recurse=False):
            layer = block_number or (layer if layer < len(blocks) else len(blocks) + 1)
            numbers[f"{prefix}.{name}".lstrip(".")] = layer
    return numbers
