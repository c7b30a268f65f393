"""Any classification model of torchvision, with its head and stem adapted to the data."""

import copy
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.error import URLError

import torch
from pydantic import Field
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem, nearest
from regulo.core.input_spec import InputSpec
from regulo.core.paths import PathStr, expand_path, redact_home
from regulo.core.types import DatasetInfo
from regulo.models.components.hooked_sites import ActivationProbe, add_site_after, add_site_before
from regulo.models.components.pretrained import PretrainedModelConfig, download_error
from regulo.models.components.sites import RateSite, Site
from regulo.models.components.weights import adapt_filters

AUXILIARY = ("googlenet", "inception_v3")
"""architectures with auxiliary heads"""
AUXILIARY_HEADS = ("aux1.", "aux2.", "AuxLogits.")
"""beginnings of the names of the heads that they have in training only"""


class Torchvision(PretrainedModelConfig):
    """A torchvision model. Its own dropout and stochastic depth are off, so that only the plan regularizes it."""

    reference: ClassVar[str] = "torchvision.models"

    architecture: Annotated[str, Field(min_length=1)] = "resnet18"
    """a name from torchvision.models.list_models()"""
    weights: PathStr | Literal[True] | None = None
    """weights to begin with: true, or a name of torchvision such as IMAGENET1K_V1 (downloaded), or a file or folder as for any
    model; null: random"""
    small_stem: bool | None = None
    """no down-sampling before the first stage, as in networks for CIFAR; null: for images of at most 64 pixels"""

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        self._check_architecture()
        try:
            return self._build_model(dataset_info)
        except (AssertionError, IndexError, KeyError, RuntimeError, ValueError) as error:
            size = f"{dataset_info.channels} × {dataset_info.height} × {dataset_info.width}"
            what = f"torchvision cannot build {self.architecture} for {size} images: {str(error).splitlines()[0]}"
            raise InputError(Problem("model.architecture", what, "convolutional architectures accept any size")) from error

    def _check_architecture(self) -> None:
        from torchvision import models

        names = models.list_models(module=models)
        if self.architecture not in names:
            what = f"torchvision has no classification model {self.architecture!r}"
            raise InputError(Problem("model.architecture", what, nearest(self.architecture, names)))

    def _build_model(self, dataset_info: DatasetInfo) -> nn.Module:
        model = self._build_torchvision_model(dataset_info)
        _disable_regularization(model)
        small = max(dataset_info.height, dataset_info.width) <= 64 if self.small_stem is None else self.small_stem
        _adapt_stem(model, dataset_info.channels, small)
        head = _adapt_head(model, dataset_info.num_classes)
        _add_sites(model, head, dataset_info)
        return model

    def _build_torchvision_model(self, dataset_info: DatasetInfo) -> nn.Module:
        from torchvision import models

        options: dict[str, Any] = {}
        if self.architecture in AUXILIARY:
            options |= {"aux_logits": False, "init_weights": True}  # one vector of logits per image
        if self.architecture.startswith("vit_"):
            options["image_size"] = max(dataset_info.height, dataset_info.width)
        if self.architecture.startswith("maxvit"):
            options["input_size"] = (dataset_info.height, dataset_info.width)
        return models.get_model_builder(self.architecture)(weights=None, **options)

    def weights_path(self) -> Path | None:
        is_name = isinstance(self.weights, PathStr) and not expand_path(self.weights).exists()
        return None if is_name else super().weights_path()

    def published_weights(self) -> tuple[str, "OrderedDict[str, Tensor]"]:
        from torchvision import models

        weights = self._published_entry()
        try:
            model = models.get_model_builder(self.architecture)(weights=weights)
        except URLError as error:
            what = f"the weights {weights.name} of {self.architecture} cannot be downloaded: {error.reason}"
            raise download_error(what, weights.url, _cache_folder()) from error
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:  # a torn file in its cache
            what = f"torchvision cannot read {weights.name} of {self.architecture}: {' '.join(str(error).split())[:200]}"
            hint = f"remove {weights.url.rpartition('/')[2]} from {_cache_folder()}"
            raise InputError(Problem("model.weights", what, hint)) from error
        state = model.state_dict()
        for name in [name for name in state if name.startswith(AUXILIARY_HEADS)]:
            del state[name]
        return f"torchvision's {weights.name} of {self.architecture}", state

    def input_spec(self) -> InputSpec | None:
        preset = self._published_entry().transforms()
        # these networks would convert images that are normalized as ImageNet to a range of −1 to 1: here they get it at once
        half = [0.5, 0.5, 0.5] if self.architecture in AUXILIARY else None
        return InputSpec(
            image_size=preset.crop_size[0],
            crop_share=preset.crop_size[0] / preset.resize_size[0],
            interpolation=preset.interpolation.value,
            mean=half or list(preset.mean),
            std=half or list(preset.std),
        )

    def convert_state(self, state: "OrderedDict[str, Tensor]", model: nn.Module) -> "OrderedDict[str, Tensor]":
        from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

        if not isinstance(model, VisionTransformer):
            return state
        return interpolate_embeddings(model.image_size, model.patch_size, state)  # positions for another image size

    def _published_entry(self) -> Any:
        """The member of torchvision's enumeration that `weights` names. Raises InputError if there is none."""
        from torchvision import models

        self._check_architecture()
        versions = models.get_model_weights(self.architecture).__members__
        name = "DEFAULT" if self.weights is True or self.weights_path() else str(self.weights)
        if name not in versions:
            what = f"{self.architecture} has no weights {name!r}, and there is no such file"
            raise InputError(Problem("model.weights", what, nearest(name, versions)))
        return versions[name]


def _cache_folder() -> str:
    return redact_home(f"{torch.hub.get_dir()}/checkpoints")


def _disable_regularization(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout) or type(module).__name__ == "StochasticDepth":
            module.p = 0.0  # type: ignore[assignment]
        for attribute in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)


def _adapt_stem(model: nn.Module, channels: int, small: bool) -> None:
    """Give the first convolution `channels` inputs; keep the resolution of small images up to the first stage."""
    name, conv = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels != channels:
        new_conv = nn.Conv2d(channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None)  # type: ignore[arg-type]
        with torch.no_grad():
            new_conv.weight.copy_(adapt_filters(conv.weight, channels))
            if conv.bias is not None and new_conv.bias is not None:
                new_conv.bias.copy_(conv.bias)
        model.set_submodule(name, new_conv)
        conv = new_conv
    if small and conv.kernel_size[0] > conv.stride[0] > 1:  # patch embeddings, which do not overlap, do not change
        conv.stride = (1, 1)
        pool = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.MaxPool2d)), None)
        if pool:
            model.set_submodule(pool[0], nn.Identity())


def _adapt_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Replace the layer that outputs the 1000 logits of ImageNet, and return the new one."""
    heads = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    name, old = next((n, m) for n, m in reversed(heads) if 1000 in (getattr(m, "out_features", 0), getattr(m, "out_channels", 0)))
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, old.kernel_size)
    model.set_submodule(name, new)
    return new


def _add_sites(model: nn.Module, head: nn.Module, dataset_info: DatasetInfo) -> None:
    for name, kind in _activation_sites(model, dataset_info).items():
        add_site_after(model.get_submodule(name), Site(kind))  # type: ignore[arg-type]
    add_site_before(head, Site("fc"))
    for block, branches in _residual_blocks(model):
        for branch in branches:
            if isinstance(branch, nn.Sequential):  # which runs its last child by itself
                branch.add_module("residual", Site("residual"))
            else:
                add_site_after(branch, Site("residual"), "residual")
        add_site_after(block, Site("trunk"), "trunk")
    if hasattr(model, "encoder") and hasattr(model.encoder, "pos_embedding"):
        add_site_after(model.get_submodule("encoder.dropout"), Site("tokens", prefix=1), "tokens")
    for module in list(model.modules()):
        attribute = "dropout" if isinstance(module, nn.MultiheadAttention) else "attention_dropout"
        if isinstance(getattr(module, attribute, None), float) and not isinstance(module, nn.Dropout):
            module.add_module("site", RateSite("attention", module, attribute))


BRANCHES: dict[str, tuple[str, ...]] = {
    "BasicBlock": ("bn2",),
    "Bottleneck": ("bn3",),
    "ResBottleneckBlock": ("f",),  # RegNet
    "InvertedResidual": ("conv", "block"),  # MobileNet 2 and 3; ShuffleNet's has neither, and adds nothing
    "_InvertedResidual": ("layers",),  # MNASNet
    "MBConv": ("stochastic_depth",),  # EfficientNet, MaxViT
    "FusedMBConv": ("stochastic_depth",),
    "CNBlock": ("stochastic_depth",),  # ConvNeXt
    "EncoderBlock": ("dropout", "mlp"),  # ViT
    "SwinTransformerBlock": ("attn", "mlp"),
    "SwinTransformerBlockV2": ("norm1", "norm2"),  # which follow attention and MLP
    "PartitionAttentionLayer": ("attn_layer", "mlp_layer"),  # MaxViT
}
"""for each kind of residual block x + f(x), the names of the modules whose output is a branch f(x)"""


def _residual_blocks(model: nn.Module) -> list[tuple[nn.Module, list[nn.Module]]]:
    """The residual blocks that have a shortcut, with their branches; some kinds have none if the shape changes."""
    blocks: list[tuple[nn.Module, list[nn.Module]]] = []
    for m in model.modules():
        branches = [getattr(m, name) for name in BRANCHES.get(type(m).__name__, ()) if hasattr(m, name)]
        if branches and getattr(m, "use_res_connect", True) and getattr(m, "apply_residual", True):
            blocks.append((m, branches))
    return blocks


def _activation_sites(model: nn.Module, dataset_info: DatasetInfo) -> dict[str, str]:
    """Names of the activation modules, with the kind of layer before them: from a forward pass without data."""
    meta_model = copy.deepcopy(model).to("meta").eval()
    probe = ActivationProbe(meta_model)
    with torch.no_grad():
        meta_model(torch.empty(1, dataset_info.channels, dataset_info.height, dataset_info.width, device="meta"))
    return probe.kinds
