"""Any classification model of timm, with sites."""

import sys
from collections import OrderedDict
from typing import Annotated, Any, ClassVar, get_args

from pydantic import Field
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem, nearest
from regulo.core.input_spec import InputSpec
from regulo.core.paths import redact_home
from regulo.core.resize import Interpolation
from regulo.core.types import DatasetInfo
from regulo.models.components.pretrained import PretrainedModelConfig, download_error
from regulo.models.components.timm_sites import add_sites


class Timm(PretrainedModelConfig):
    """A timm model. Its own dropout and stochastic depth are off, so that only the plan regularizes it."""

    reference: ClassVar[str] = "timm"

    architecture: Annotated[str, Field(min_length=1)] = "resnet18"
    """a name from timm.list_models(), also with the tag of its weights, such as resnet18.a1_in1k"""

    def build(self, dataset_info: DatasetInfo) -> nn.Module:
        settings = self._published_settings()
        size = (dataset_info.height, dataset_info.width)
        options: dict[str, Any] = {"in_chans": dataset_info.channels, "num_classes": dataset_info.num_classes}
        if settings.fixed_input_size:
            options["img_size"] = size
        try:
            model = _create_model(self.architecture, **options)
            _disable_regularization(model)
            add_sites(model, self.head_names(model, dataset_info.num_classes), dataset_info)
        except ImportError as error:
            raise InputError(Problem("model.architecture", f"{self.architecture} needs another package: {error}")) from error
        except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            what = f"timm cannot build {self.architecture} for {dataset_info.channels} × {size[0]} × {size[1]} images"
            reason = " ".join(str(error).split())[:200]
            shape = " × ".join(map(str, settings.input_size))
            smallest = f", and at least {' × '.join(map(str, settings.min_input_size))}" if settings.min_input_size else ""
            hint = f"it is made for {shape}{smallest}: data.image_size={settings.input_size[-1]}"
            raise InputError(Problem("model.architecture", f"{what}: {reason}", hint)) from error
        return model

    def head_names(self, model: nn.Module, num_classes: int) -> list[str]:
        names = model.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr, operator]
        heads = [names] if isinstance(names, str) else list(names)
        layers = dict(model.named_modules())
        known = [name for name in heads if isinstance(layers.get(name), nn.Linear | nn.Conv2d)]
        return known or super().head_names(model, num_classes)

    def published_weights(self) -> tuple[str, "OrderedDict[str, Tensor]"]:
        settings = self._published_settings()
        name = f"{settings.architecture}.{settings.tag}" if settings.tag else self.architecture
        if not settings.has_weights:
            import timm

            what = f"timm has no weights of {self.architecture}"
            raise InputError(Problem("model.weights", what, nearest(self.architecture, timm.list_pretrained())))
        if settings.hf_hub_id:
            _check_hub(settings)
        try:
            model = _create_model(self.architecture, pretrained=True)
        except Exception as error:  # libraries of the network raise anything
            what = f"the weights {name} cannot be loaded: {' '.join(str(error).split())[:200]}"
            raise download_error(what, _published_file(settings), _cache_folder(settings)) from error
        return f"timm's {name}", OrderedDict(model.state_dict())

    def input_spec(self) -> InputSpec | None:
        settings = self._published_settings()
        return InputSpec(
            image_size=settings.input_size[-1],
            crop_share=settings.crop_pct,
            interpolation=settings.interpolation if settings.interpolation in get_args(Interpolation) else None,
            mean=list(settings.mean),
            std=list(settings.std),
        )

    def convert_state(self, state: "OrderedDict[str, Tensor]", model: nn.Module) -> "OrderedDict[str, Tensor]":
        """As timm does for the files of this family: older names, other image sizes."""
        convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
        return OrderedDict(convert(dict(state), model)) if convert else state

    def _published_settings(self) -> Any:
        """Timm's PretrainedCfg of this architecture. Raises InputError if timm does not have it."""
        import timm

        name, _, tag = self.architecture.partition(".")
        names = timm.list_models()
        if name not in names:
            what = f"timm has no classification model {name!r}"
            raise InputError(Problem("model.architecture", what, nearest(name, names)))
        try:
            return timm.get_pretrained_cfg(self.architecture) or timm.models.PretrainedCfg(architecture=name)
        except RuntimeError as error:
            tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
            what = f"timm has no weights {tag!r} of {name}"
            hint = nearest(tag, tags) or f"it has {', '.join(tags) or 'none'}"
            raise InputError(Problem("model.architecture", what, hint)) from error


def _create_model(architecture: str, **options: Any) -> nn.Module:
    import timm

    return timm.create_model(architecture, **options)


def _disable_regularization(model: nn.Module) -> None:
    """Set every rate of dropout, drop path, DropBlock or patch dropout to 0: modules and numbers that `forward` reads."""
    for module in model.modules():
        is_dropout = isinstance(module, nn.modules.dropout._DropoutNd)
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or (name == "p" and is_dropout) or name == "prob"):
                setattr(module, name, 0.0)


# ---- files on the hub


def _check_hub(settings: Any) -> None:
    """Raise InputError if the file is not in the cache and the hub does not answer. timm itself would try for a minute."""
    import huggingface_hub as hub

    names = [settings.hf_hub_filename] if settings.hf_hub_filename else ["model.safetensors", "pytorch_model.bin"]
    if any(isinstance(hub.try_to_load_from_cache(settings.hf_hub_id, name), str) for name in names):
        return
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(settings.hf_hub_id, names[0]), timeout=10)
    except hub.errors.HfHubHTTPError:
        return  # it answers
    except Exception as error:  # the libraries for HTTP raise their own errors
        what = f"the weights of {settings.architecture} are not in the cache, and the hub does not answer: {error}"
        raise download_error(what, _published_file(settings), _cache_folder(settings)) from error


def _published_file(settings: Any) -> str:
    if settings.hf_hub_id:
        return f"{settings.hf_hub_filename or 'model.safetensors'} of {settings.hf_hub_id} (Hugging Face)"
    return str(settings.url)


def _cache_folder(settings: Any) -> str:
    if settings.hf_hub_id:
        from huggingface_hub import constants

        return redact_home(f"{constants.HF_HUB_CACHE}/models--{settings.hf_hub_id.replace('/', '--')}")
    import torch

    return redact_home(f"{torch.hub.get_dir()}/checkpoints")
