"""Sites in the models of timm, found by what its families have in common, in one forward pass without data."""

import copy
import functools
import re
from typing import Any

import torch
from torch import Tensor, nn

from regulo.core.types import DatasetInfo
from regulo.models.components.hooked_sites import ActivationProbe, add_site_after, add_site_before
from regulo.models.components.sites import RateSite, Site

DROP_PATH = re.compile(r"drop_?path\d*")
"""names of the modules through which the branch of a residual block goes, before it is added to the shortcut"""
IMAGES = 2


def add_sites(model: nn.Module, heads: list[str], dataset_info: DatasetInfo) -> None:
    """Add all sites. Raises ValueError for other outputs than logits (B, K), and what timm raises for images of another size."""
    _complete_drop_paths(model)
    probe = Probe(model, dataset_info)
    for name, kind in probe.activations.items():
        add_site_after(model.get_submodule(name), Site(kind))  # type: ignore[arg-type]
    for head in heads:
        add_site_before(model.get_submodule(head), Site("fc"))
    for name in probe.branches:
        add_site_after(model.get_submodule(name), Site("residual"), "residual")
    for name in probe.blocks:
        add_site_after(model.get_submodule(name), Site("trunk"), "trunk")
    if probe.tokens:
        name, prefix = probe.tokens
        add_site_after(model.get_submodule(name), Site("tokens", prefix), "tokens")
    for name in probe.attentions:
        dropout = model.get_submodule(name)
        dropout.inplace = False  # type: ignore[assignment]  # the backward pass of the softmax before it needs its output
        dropout.add_module("site", RateSite("attention", dropout, "p"))


def _complete_drop_paths(model: nn.Module) -> None:
    """Give blocks that have None in place of drop path a module there."""
    for module in list(model.modules()):
        for name, value in list(vars(module).items()):
            if value is None and DROP_PATH.fullmatch(name):
                setattr(module, name, nn.Identity())


class Probe:
    """The places for sites, as names of modules: what runs in a forward pass on a copy of the model without data."""

    def __init__(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        """Raises ValueError for other outputs than logits."""
        twin = copy.deepcopy(model).to("meta").eval().requires_grad_()
        shape = (IMAGES, dataset_info.channels, dataset_info.height, dataset_info.width)
        self._shapes: dict[str, torch.Size] = {}
        self._nodes: dict[str, Any] = {}
        activations = ActivationProbe(twin)
        modules = dict(twin.named_modules())
        paths = [name for name in modules if DROP_PATH.fullmatch(name.rpartition(".")[2])]
        parents = {name.rpartition(".")[0] for name in paths}
        tokens = [name for name in ("patch_drop", "pos_drop") if isinstance(modules.get(name), nn.Identity | nn.Dropout)]
        for name in {*paths, *parents, *tokens} & modules.keys():
            modules[name].register_forward_hook(functools.partial(self._record, name))
        images = torch.empty(shape, device="meta", requires_grad=True).view(shape)  # the node of which is where the graph begins
        logits = twin(images)
        if not isinstance(logits, Tensor) or logits.shape != (IMAGES, dataset_info.num_classes):
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(f"it outputs {what}, and not one logit for each class")
        self.activations = activations.kinds
        self.branches = [name for name in paths if self._is_batch(name)]
        cuts = [name for name in modules if name in parents and self._is_batch(name) and self._is_cut(name, logits, images)]
        self.blocks = [name for name in cuts if not any(name.startswith(f"{outer}.") for outer in cuts)]
        self.attentions = [
            name for name, m in modules.items() if name.rpartition(".")[2] == "attn_drop" and isinstance(m, nn.Dropout)
        ]
        self.tokens = next(filter(None, (self._token_prefix(twin, name, images) for name in tokens)), None)

    def _record(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            self._shapes[name], self._nodes[name] = output.shape, output.grad_fn

    def _is_batch(self, name: str) -> bool:
        """Whether the output has one entry for each image, unlike that of blocks that work on windows."""
        return name in self._shapes and self._shapes[name][0] == IMAGES

    def _is_cut(self, name: str, logits: Tensor, images: Tensor) -> bool:
        """Whether everything that the logits know of the images goes through the output of this module."""
        return images.grad_fn not in _ancestors(logits.grad_fn, self._nodes[name])

    def _token_prefix(self, twin: nn.Module, name: str, images: Tensor) -> tuple[str, int] | None:
        """The number of leading tokens that are not patches, if the model also takes fewer tokens at this place."""
        patches = getattr(getattr(twin, "patch_embed", None), "num_patches", None)
        shape = self._shapes.get(name, ())
        if not isinstance(patches, int) or len(shape) != 3 or not 0 <= shape[1] - patches <= 16:
            return None
        handle = twin.get_submodule(name).register_forward_hook(lambda module, args, tokens: tokens[:, :-1])
        try:
            twin(images)
        except (AssertionError, RuntimeError, ValueError):
            return None  # it needs the tokens to form a grid
        finally:
            handle.remove()
        return name, shape[1] - patches


def _ancestors(node: Any, without: Any) -> set[Any]:
    """The nodes of the graph from which a node is computed, on ways that do not go through the node `without`."""
    seen, stack = {without}, [node]
    while stack:
        current = stack.pop()
        if current is not None and current not in seen:
            seen.add(current)
            stack += [parent for parent, _ in current.next_functions]
    return seen
