"""The head of a model, and the backbone before it: fine-tuning treats them differently."""

from dataclasses import dataclass

from torch import nn

from regulo.core.errors import InputError, Problem
from regulo.models.components.sites import Site


@dataclass(frozen=True)
class Head:
    """The layers that turn features into logits, by their dotted names. Everything else is the backbone."""

    names: tuple[str, ...]

    def __contains__(self, name: str) -> bool:
        """Whether a module, parameter or buffer of this dotted name belongs to the head."""
        return any(name == head or name.startswith(f"{head}.") for head in self.names)


def find_head(model: nn.Module, key: str) -> Head:
    """What comes after the features, by the `fc` site at which they leave the backbone.

    The site is inside the head (a layer of a library's model, which has it as a child), or the head is what follows after the
    last one. Raises InputError about the technique `key` if the model has no such site, or if nothing is before or after it.
    """
    sites = [name for name, m in model.named_modules() if isinstance(m, Site) and m.kind == "fc"]
    owners = [name.rpartition(".")[0] for name in sites]
    names = [name for name in owners if isinstance(model.get_submodule(name), nn.Linear | nn.Conv2d)]
    if sites and not names:
        siblings = list(model.get_submodule(owners[-1]).named_children())
        position = next(i for i, (name, _) in enumerate(siblings) if name == sites[-1].rpartition(".")[2])
        names = [f"{owners[-1]}.{name}".lstrip(".") for name, m in siblings[position + 1 :] if any(True for _ in m.parameters())]
    head = Head(tuple(names))
    in_head = [name in head for name, _ in model.named_parameters()]
    if all(in_head) or not any(in_head):
        what = "this model has no site of the kind 'fc' between a backbone and a head, each with parameters"
        raise InputError(Problem(key, what, f"~{key}"))
    return head
