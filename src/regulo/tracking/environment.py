"""What a run depends on besides its configuration: versions, hardware, extensions. Nothing in it identifies a person."""

import importlib.metadata
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from regulo.core import affinity
from regulo.core.errors import Problem, one_line
from regulo.core.extensions import Extension, list_extensions
from regulo.core.program import PROGRAM

EXTENSION = "extension"
"""the beginning of the keys of extensions"""
PACKAGES = (PROGRAM, "torch", "torchvision", "lightning", "albumentations", "numpy")


def describe_hardware() -> str:
    """Processor and accelerators in one readable line."""
    import torch

    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join([f"{len(affinity.available_cores())} cores of {models[0] if models else platform.machine()}", *gpus])


def describe_environment() -> dict[str, str]:
    """Hardware, system and package versions: what may change the last digits of a result."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    machine = {"hardware": describe_hardware(), "system": platform.system(), "python": platform.python_version()}
    return {**machine, **versions, **describe_extensions()}


def describe_extensions() -> dict[str, str]:
    """The extensions outside Regulo, each with the digest of its files. Raises InputError."""
    return {f"{EXTENSION} {i}": _describe_extension(extension) for i, extension in enumerate(list_extensions(), 1)}


def _describe_extension(extension: Extension) -> str:
    version = f", version {extension.version}" if extension.version else ""
    return f"{extension.name}{version}, sha256 {extension.digest()}"


def find_missing_extensions(environment: Mapping[str, str]) -> list[Problem]:
    """A problem for each extension that a run had and this process does not have. `environment`: that of the run.

    The name only stands in the message: a stranger may have written it, and an extension is code.
    """
    names = {extension.name for extension in list_extensions()}
    what = "was an extension of this run, and is not here"
    hint = "if you trust its code, add extensions=FOLDER, or install it"
    return [Problem(name, what, hint) for name in _saved_extensions(environment) if name not in names]


def find_changed_extensions(environment: Mapping[str, str]) -> list[str]:
    """A line for each extension that is not as it was in the run. `environment`: that of the run."""
    saved = _saved_extensions(environment)
    now = {extension.name: _describe_extension(extension) for extension in list_extensions()}
    return [
        one_line(f"the extension {name} has changed since the run: now {now[name]}, then {text}")
        for name, text in saved.items()
        if name in now and now[name] != text
    ]


def _saved_extensions(environment: Mapping[str, str]) -> dict[str, str]:
    """Names of the extensions of a run, and what was written about each."""
    texts = [text for key, text in environment.items() if key.startswith(f"{EXTENSION} ")]
    return {re.sub(r"(, version \S+)?, sha256 [0-9a-f]+$", "", text): text for text in texts}
