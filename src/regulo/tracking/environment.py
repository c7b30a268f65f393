"""What a run depends on beside its configuration: versions and hardware, and nothing that says whose they are."""

import importlib.metadata
import platform
from pathlib import Path

from regulo.core import affinity

PACKAGES = ("regulo", "torch", "torchvision", "lightning", "albumentations", "numpy")


def describe_hardware() -> str:
    """Processor and accelerators, for people."""
    import torch

    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ", ".join([f"{len(affinity.available_cores())} cores of {models[0] if models else platform.machine()}", *gpus])


def describe_environment() -> dict[str, str]:
    """All that may change a run's digits."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"hardware": describe_hardware(), "system": platform.system(), "python": platform.python_version(), **versions}
