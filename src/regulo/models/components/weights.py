"""Weights from a file, for every model: of a run, or as torchvision's script, timm, Lightning and torch's wrappers save them."""

import argparse
import re
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from regulo.core.errors import InputError, Problem, nearest
from regulo.core.input_spec import InputSpec
from regulo.core.types import DatasetInfo
from regulo.models.base import ModelConfig
from regulo.tracking import records
from regulo.tracking.run_dir import CONFIG, RunFolder

WRAPPINGS = ("state_dict", "model", "model_state_dict")
"""the keys of a checkpoint that hold the weights: of a run, timm and Lightning; of torchvision's script; of torch's tutorials"""
PREFIXES = ("module.", "_orig_mod.", "model.", "classifier.")
"""of names: DistributedDataParallel, torch.compile, a LightningModule, `Classifier`; also several, one after the other"""
MAX_PREFIXES = 4
SUFFIXES = (".pth", ".pt", ".safetensors")
"""of files of weights"""


def build_with_weights(config: ModelConfig, dataset_info: DatasetInfo) -> tuple[nn.Module, str]:
    """A model with its first weights, and a line that says from where they are; empty if they are random. Raises InputError."""
    if not config.weights:
        return config.build(dataset_info), ""
    path = config.weights_path()
    source = _read_file(path) if path else Source(*config.published_weights())
    model = config.build(dataset_info)
    return model, _load(config, model, source, dataset_info.num_classes)


def input_of_weights(config: ModelConfig) -> InputSpec | None:
    """What the first weights expect of their input; None if they are random, or if that is not known. Raises InputError."""
    if not config.weights:
        return None
    path = config.weights_path()
    if path is None or not (path.is_dir() or path.suffix == ".ckpt"):
        return config.input_spec()
    file = _weights_file(path)
    content = read_weights_file(file)
    if not isinstance(content, Mapping) or "regulo" not in content:
        return config.input_spec()
    dataset_info = records.read_dataset_info(content, str(file))
    data = content["regulo"]["config"]["data"]
    fields = {"image_size": dataset_info.height, "mean": list(dataset_info.mean), "std": list(dataset_info.std)}
    fields |= {name: data.get(name) for name in ("crop_share", "interpolation")}
    try:
        return InputSpec.model_validate(fields)
    except ValidationError as error:
        raise InputError(
            Problem("model.weights", f"{file} is not the checkpoint of a run: {error.errors()[0]['msg']}")
        ) from error


@dataclass(frozen=True)
class Source:
    """Weights by name, and from where they are, for people."""

    origin: str
    weights: "OrderedDict[str, Tensor]"
    description: str = ""
    """of the model that had them; empty if that is not known"""


def _read_file(path: Path) -> Source:
    """The weights in a file, in the folder of a run, or in a folder with one file of weights. Raises InputError."""
    file = _weights_file(path)
    content = read_weights_file(file)
    wrapping, weights = _unwrap(content, file)
    return Source(f"{file}, its {wrapping!r}" if wrapping else str(file), weights, _describe_model(content))


def _load(config: ModelConfig, model: nn.Module, source: Source, num_classes: int) -> str:
    """Load weights into a model of `num_classes` logits, and return the line that says what was loaded.

    Heads of another size are left out, and the filters of the first convolution are adapted to the channels of the images.
    Raises InputError if anything else does not fit.
    """
    own = model.state_dict()
    heads = config.head_names(model, num_classes)
    weights = rename_weights(source.weights, config.rename)
    state = _strip_prefix(weights, find_prefix(weights, own))
    notes = [f"{len(weights) - len(state)} others are not of the model"] if len(state) < len(weights) else []
    notes += [*_adapt_stem(model, own, state), *_leave_out_heads(heads, own, state)]
    head_tensors = {name for head in heads for name in _parameters_of(head, own)}
    differences = _load_tensors(model, own, state, head_tensors, source)
    if differences:
        state = _convert(config, state, model, source)
        differences = _load_tensors(model, own, state, head_tensors, source)
    if differences:
        what = "; ".join(f"{kind}: {_first(names)}" for kind, names in differences.items())
        raise InputError(
            Problem("model.weights", f"{source.origin} has the weights of another model: {what}", source.description)
        )
    return "; ".join([f"weights: {len(state)} tensors of {source.origin}", *notes])


def _convert(
    config: ModelConfig, state: "OrderedDict[str, Tensor]", model: nn.Module, source: Source
) -> "OrderedDict[str, Tensor]":
    """The state as its library converts it. Raises InputError if the library finds no sense in it."""
    try:
        return config.convert_state(state, model)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        what = f"{source.origin} cannot be converted for this model: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise InputError(Problem("model.weights", what, source.description)) from error


def _load_tensors(
    model: nn.Module, own: Mapping[str, Tensor], state: "OrderedDict[str, Tensor]", head_tensors: Collection[str], source: Source
) -> dict[str, list[str]]:
    """Load the tensors that fit. Returns what does not, by kind; empty if all fits. The tensors of the heads may be missing."""
    shapes = {
        name: f"{name} ({_size(tensor)}, and {_size(own[name])} in the model)"
        for name, tensor in state.items()
        if name in own and tensor.shape != own[name].shape
    }
    fitting = OrderedDict((name, tensor) for name, tensor in state.items() if name not in shapes)
    fitting._metadata = getattr(state, "_metadata", {})  # type: ignore[attr-defined]
    try:
        missing, unexpected = model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:  # a module that reads older versions of itself
        what = f"{source.origin} does not fit: {' '.join(str(error).split())[:300]}"
        raise InputError(Problem("model.weights", what)) from error
    missing = [name for name in missing if name not in shapes and name not in head_tensors]
    differences = {"missing": missing, "unexpected": unexpected, "of another shape": list(shapes.values())}
    return {kind: names for kind, names in differences.items() if names}


def rename_weights(weights: "OrderedDict[str, Tensor]", rename: Mapping[str, str]) -> "OrderedDict[str, Tensor]":
    """The weights with other beginnings of their names. Raises InputError for one that fits none, or makes two names equal."""
    if not rename:
        return weights
    prefixes = sorted(rename, key=len, reverse=True)
    unused = set(rename)
    result: OrderedDict[str, Tensor] = OrderedDict()
    for name, tensor in weights.items():
        prefix = next((p for p in prefixes if name.startswith(p)), None)
        new_name = name if prefix is None else rename[prefix] + name.removeprefix(prefix)
        unused.discard(prefix or "")
        if new_name in result:
            raise InputError(Problem("model.rename", f"it gives two tensors the name {new_name!r}; the second one was {name!r}"))
        result[new_name] = tensor
    if unused:
        first = sorted(unused)[0]
        what = f"no name in the file begins with {first!r}"
        raise InputError(Problem("model.rename", what, nearest(first, _beginnings(weights)) or f"it has {_first(list(weights))}"))
    return result


def _beginnings(names: Iterable[str]) -> set[str]:
    """Of dotted names: `a.`, `a.b.` and `a.b.c` of `a.b.c`."""
    parts = [name.split(".") for name in names]
    return {".".join(words[:n]) + ("." if n < len(words) else "") for words in parts for n in range(1, len(words) + 1)}


def read_weights_file(file: Path) -> Any:
    """The content of a file. Raises InputError if it is incomplete or has anything else than plain data; no code in it is run.

    The command line of a script (`argparse.Namespace`), which torchvision and timm save as well, is plain data. Files in torch's
    old format have no checksums.
    """
    from regulo.tracking import checkpoint_io

    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            if file.suffix == ".safetensors":
                from safetensors.torch import load_file

                return load_file(file)
            if zipfile.is_zipfile(file):
                return checkpoint_io.read_checkpoint(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load may raise any error for an incomplete file
        reason = error.__cause__ if isinstance(error, InputError) and error.__cause__ else error
        text = " ".join(str(reason).split())
        if match := re.search(r"Unsupported \w+: GLOBAL ([\w.]+)", text):
            what = f"{file} holds more than weights: {match[1]}, which is not read"
            raise InputError(Problem("model.weights", what, "save only its state_dict() into a file")) from error
        what = f"{file} is not a whole file of weights: {text[:200] or 'it ends too soon'}"
        raise InputError(Problem("model.weights", what, "copy or download it again")) from error


def find_prefix(keys: Collection[str], names: Iterable[str]) -> str:
    """The prefix with which most names of a model are keys of a file: one of `PREFIXES`, several of them, or none."""
    candidates = {""}
    for key in keys:
        prefix = ""
        for _ in range(MAX_PREFIXES):
            prefix += next((p for p in PREFIXES if key.startswith(p, len(prefix))), "")
            candidates.add(prefix)
    names = list(names)
    return max(sorted(candidates, key=len), key=lambda prefix: sum(prefix + name in keys for name in names))


def adapt_filters(weight: Tensor, channels: int) -> Tensor:
    """Filters (O, C, h, w) for images of `channels` channels, (O, channels, h, w).

    Gray: the sum over the colors has the output of the color filter on a gray image.
    """
    kernel = weight.sum(1, keepdim=True) if channels == 1 else weight.mean(1, keepdim=True) * weight.shape[1] / channels
    return kernel.expand(-1, channels, -1, -1)


def _weights_file(path: Path) -> Path:
    """The file itself; of a run folder that with the final weights; of another folder its one file of weights.

    Raises InputError for a folder with none, or with several.
    """
    if not path.is_dir():
        return path
    if (path / CONFIG).exists():
        final = records.read_result(RunFolder(path)).get("weights")
        if final is None:
            what = f"{path} is not the folder of a finished run"
            raise InputError(Problem("model.weights", what, "name a file, for example a run's checkpoints/best.ckpt"))
        return path / "checkpoints" / f"{final}.ckpt"
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
    if len(files) != 1:
        names = f"{len(files)} files of weights: {_first([file.name for file in files])}" if files else "no file of weights"
        what = f"the folder {path} has {names}"
        raise InputError(Problem("model.weights", what, f"name the file, one of {', '.join(SUFFIXES)}"))
    return files[0]


def _unwrap(content: Any, file: Path) -> tuple[str, "OrderedDict[str, Tensor]"]:
    """The key of the wrapping, empty if there is none, and the weights by name. Raises InputError if there are none."""
    sections = content if isinstance(content, Mapping) else {}
    wrapping = next((key for key in WRAPPINGS if isinstance(sections.get(key), Mapping)), "")
    section = sections[wrapping] if wrapping else sections
    weights = OrderedDict((k, v) for k, v in section.items() if isinstance(k, str) and isinstance(v, Tensor))
    if not weights:
        keys = _first([str(key)[:60] for key in sections])
        what = f"{file} has no weights by name" + (f", only {keys}" if keys else "")
        raise InputError(
            Problem("model.weights", what, f"they are expected at the top or in {' or '.join(map(repr, WRAPPINGS))}")
        )
    versions = getattr(section, "_metadata", None)  # of modules: torch reads older ones with them
    weights._metadata = versions if isinstance(versions, Mapping) else {}  # type: ignore[attr-defined]
    return wrapping, weights


def _strip_prefix(weights: Mapping[str, Tensor], prefix: str) -> "OrderedDict[str, Tensor]":
    """The weights whose names begin with this prefix, by the rest of their names."""
    state = OrderedDict((name.removeprefix(prefix), tensor) for name, tensor in weights.items() if name.startswith(prefix))
    versions = {f"{name}.": version for name, version in getattr(weights, "_metadata", {}).items()}
    state._metadata = {  # type: ignore[attr-defined]
        name.removeprefix(prefix).rstrip("."): version for name, version in versions.items() if name.startswith(prefix)
    }
    return state


def _adapt_stem(model: nn.Module, own: Mapping[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Adapt the filters of the first convolution in `state` to the channels of the model. Returns a note about it."""
    name = next((f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), "")
    if name not in own or name not in state or state[name].shape == own[name].shape:
        return []
    old, channels = state[name], own[name].shape[1]
    if old.ndim != 4 or old[:, 0].shape != own[name][:, 0].shape:
        return []
    state[name] = adapt_filters(old, channels)
    return [f"{name} is adapted from {old.shape[1]} to {channels} channel{'s' * (channels > 1)}"]


def _leave_out_heads(heads: list[str], own: Mapping[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Remove heads with another number of classes from `state`. Returns notes about heads that are not loaded."""
    return [note for head in heads for note in _leave_out_head(head, own, state)]


def _leave_out_head(head: str, own: Mapping[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """Remove a head with another number of classes from `state`. Returns a note about a head that is not loaded."""
    names = _parameters_of(head, own)
    tensors = [state[name] for name in names if name in state]
    if names and not tensors:
        return [f"it has no head {head}, which stays random"]
    if any(
        tensor.shape == own[name].shape or tensor.shape[1:] != own[name].shape[1:]
        for name, tensor in zip(names, tensors, strict=False)
    ):
        return []  # it fits, or it is the head of another model
    for name in names:
        state.pop(name, None)
    return [f"its head {head} of {len(tensors[0])} classes is left out, as there are {len(own[names[0]])}"] if names else []


def _parameters_of(layer: str, own: Mapping[str, Tensor]) -> list[str]:
    """The names of a layer's weight and bias in a state dict."""
    return [name for name in (f"{layer}.weight", f"{layer}.bias") if name in own]


def _describe_model(content: Any) -> str:
    """What the checkpoint of a run says about its model; empty for other files."""
    try:
        model = content["regulo"]["config"]["model"]
        return "that run has " + " ".join(
            f"model{'' if key == 'name' else f'.{key}'}={str(value)[:60]}" for key, value in model.items()
        )
    except (KeyError, TypeError, AttributeError):
        return ""


def _size(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"


def _first(names: Collection[str], n: int = 3) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(list(names)[:n])
    return f"{shown} and {len(names) - n} more" if len(names) > n else shown
