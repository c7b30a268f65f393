"""torch.compile for the training passes of a model. Evaluation stays eager: code for it takes longer to make than it saves."""

import contextlib
import importlib.util
import os
import shutil
import sys
from contextlib import AbstractContextManager

import torch
from torch import nn

from regulo.core.paths import user_cache_dir

CACHE_FOLDER_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""torch's environment variable with the folder for generated code; without it, that is lost with the temporary files"""


def has_compiler(device: torch.device) -> bool:
    """Whether torch can generate code for a device: a CPU needs a C++ compiler, a GPU Triton."""
    if device.type == "cpu":
        return shutil.which(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")) is not None
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def compile_in_place(model: nn.Module) -> None:
    """Compile the model at its first training pass. Its state-dict keys stay; a copy of it is not compiled."""
    folder = user_cache_dir()
    if folder:
        os.environ.setdefault(CACHE_FOLDER_VARIABLE, str(folder / "inductor"))
    model.compile()


def run_eagerly() -> AbstractContextManager[object]:
    """Context in which compiled models run as if they were not compiled."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and its import takes a second
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")
