"""Any classification model of torchvision, with its head and stem adapted to the data."""

import copy
import functools
import pickle
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.error import URLError

import torch
from pydantic import Field
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem, nearest
from regulo.core.paths import PathStr, expand_path
from regulo.core.types import DatasetInfo
from regulo.models.base import ModelConfig
from regulo.models.components.sites import RateSite, Site
from regulo.models.components.weights import adapt_filters

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.ELU, nn.LeakyReLU)


class Torchvision(ModelConfig):
    """A torchvision model. Its own dropout and stochastic depth are off, so that only the plan regularizes it."""

    reference: ClassVar[str] = "torchvision.models"

    architecture: Annotated[str, Field(min_length=1)] = "resnet18"
    """a name from torchvision.models.list_models()"""
    weights: PathStr | None = None
    """weights to begin with: DEFAULT or another name of torchvision (downloaded), a run folder, a checkpoint of a run, or a file
    of torchvision, timm or Lightning; null: random"""
    small_stem: bool | None = None
    """no down-sampling before the first stage, as in networks for CIFAR; null: for images of at most 64 pixels"""

    def weights_path(self) -> Path | None:
        return super().weights_path() if self.weights and expand_path(self.weights).exists() else None  # or it is a name

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        from torchvision import models

        names = models.list_models(module=models)
        if self.architecture not in names:
            what = f"torchvision has no classification model {self.architecture!r}"
            raise InputError(Problem("model.architecture", what, nearest(self.architecture, names)))
        try:
            return self._build_model(dataset_info)
        except (AssertionError, IndexError, KeyError, RuntimeError, ValueError) as error:
            size = f"{dataset_info.channels} × {dataset_info.height} × {dataset_info.width}"
            what = f"torchvision cannot build {self.architecture} for {size} images: {str(error).splitlines()[0]}"
            raise InputError(Problem("model.architecture", what, "convolutional architectures accept any size")) from error

    def _build_model(self, dataset_info: DatasetInfo) -> nn.Module:
        model = self._build_torchvision_model(dataset_info)
        _disable_regularization(model)
        small = max(dataset_info.height, dataset_info.width) <= 64 if self.small_stem is None else self.small_stem
        _adapt_stem(model, dataset_info.channels, small)
        head = _adapt_head(model, dataset_info.num_classes)
        _add_sites(model, head, dataset_info)
        return model

    def _build_torchvision_model(self, dataset_info: DatasetInfo) -> nn.Module:
        """The model as torchvision builds it, with the weights that it knows by name."""
        from torchvision import models

        builder = models.get_model_builder(self.architecture)
        options: dict[str, Any] = {}
        if self.architecture in ("googlenet", "inception_v3"):
            options |= {"aux_logits": False, "init_weights": True}  # one vector of logits per image
        if self.architecture.startswith("vit_") and (self.weights is None or self.weights_path()):
            options["image_size"] = max(dataset_info.height, dataset_info.width)
        if self.architecture.startswith("maxvit"):
            options["input_size"] = (dataset_info.height, dataset_info.width)
        model = self._load(builder, options)
        if hasattr(model, "transform_input"):
            model.transform_input = False  # type: ignore[assignment]  # images are already normalized with the mean and std of the data
        return model

    def _load(self, builder: Any, options: dict[str, Any]) -> nn.Module:
        from torchvision import models

        if self.weights is None or self.weights_path():
            return builder(weights=None, **options)
        versions = models.get_model_weights(self.architecture)
        if self.weights not in versions.__members__:
            what = f"{self.architecture} has no weights {self.weights!r}, and there is no such file"
            raise InputError(Problem("model.weights", what, nearest(str(self.weights), versions.__members__)))
        options.pop("init_weights", None)
        if "aux_logits" in options:  # the file has the auxiliary heads: load them, then remove them
            options["aux_logits"] = True
        try:
            model = builder(weights=versions[self.weights], **options)
        except URLError as error:
            hint = "place the file in TORCH_HOME/hub/checkpoints, or give its path as model.weights"
            raise InputError(Problem("model.weights", f"the download failed: {error.reason}", hint)) from error
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:  # a torn file in its cache
            what = f"torchvision cannot read {self.weights} of {self.architecture}: {' '.join(str(error).split())[:200]}"
            raise InputError(Problem("model.weights", what, "remove the file from TORCH_HOME/hub/checkpoints")) from error
        if "aux_logits" in options:
            model.aux_logits = False
            for auxiliary in ("aux1", "aux2", "AuxLogits"):
                if hasattr(model, auxiliary):
                    setattr(model, auxiliary, None)
        return model


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
    """Add sites as children without parameters, called by forward hooks, so that state-dict keys stay those of torchvision."""
    for name, kind in _activation_sites(model, dataset_info).items():
        module = model.get_submodule(name)
        module.add_module("site", Site(kind))  # type: ignore[arg-type]
        module.register_forward_hook(_site_after)
    head.add_module("site", Site("fc"))
    head.register_forward_pre_hook(_site_before)
    for block, branches in _residual_blocks(model):
        for branch in branches:
            branch.add_module("residual", Site("residual"))
            if not isinstance(branch, nn.Sequential):  # which runs its last child by itself
                branch.register_forward_hook(_residual_after)
        block.add_module("trunk", Site("trunk"))
        block.register_forward_hook(_trunk_after)
    if hasattr(model, "encoder") and hasattr(model.encoder, "pos_embedding"):
        dropout = model.get_submodule("encoder.dropout")
        dropout.add_module("tokens", Site("tokens", prefix=1))
        dropout.register_forward_hook(_tokens_after)
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


def _residual_after(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return module.residual(output)  # type: ignore[operator]


def _trunk_after(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return module.trunk(output)  # type: ignore[operator]


def _tokens_after(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return module.tokens(output)  # type: ignore[operator]


def _site_after(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return module.site(output)  # type: ignore[operator]


def _site_before(module: nn.Module, args: Any) -> tuple[Tensor]:
    return (module.site(args[0]),)  # type: ignore[operator]


def _activation_sites(model: nn.Module, dataset_info: DatasetInfo) -> dict[str, str]:
    """Names of the activation modules, with the kind of layer before them: from a forward pass without data."""
    meta_model = copy.deepcopy(model).to("meta").eval()
    probe = ActivationProbe(meta_model)
    with torch.no_grad():
        meta_model(torch.empty(1, dataset_info.channels, dataset_info.height, dataset_info.width, device="meta"))
    return probe.kinds


class ActivationProbe:
    """Hooks on the modules of a model. In a forward pass they record the kind of layer that ran last before each activation."""

    def __init__(self, model: nn.Module) -> None:
        self.kinds: dict[str, str] = {}  # kind of site, by the name of the activation module
        self._last_layer = ""
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                kind = "conv" if isinstance(module, nn.Conv2d) else "fc"
                module.register_forward_hook(functools.partial(self._record_layer, kind))
            elif isinstance(module, ACTIVATIONS):
                module.register_forward_hook(functools.partial(self._record_activation, name))

    def _record_layer(self, kind: str, module: nn.Module, args: Any, output: Tensor) -> None:
        self._last_layer = kind

    def _record_activation(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        is_squeeze = output.ndim == 4 and output.shape[2:].numel() == 1  # in squeeze-and-excitation
        if self._last_layer == "fc" or (output.ndim == 4 and not is_squeeze):
            self.kinds[name] = self._last_layer
