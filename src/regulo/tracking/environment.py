"""What a run depends on besides its configuration: versions and hardware. Nothing here identifies a person or a machine."""

import importlib.metadata
import platform
from pathlib import Path

from regulo.core import affinity

PACKAGES = ("regulo", "torch", "torchvision", "lightning", "albumentations", "numpy")


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
    return {"hardware": describe_hardware(), "system": platform.system(), "python": platform.python_version(), **versions}
