"""Number formats and memory formats in which a model runs."""

import resource
import sys

import torch

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
AUTOCAST_DTYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a model of this precision runs."""
    dtype = AUTOCAST_DTYPES[precision]
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held so far: of the GPU's memory, or its resident set without one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest  # which counts KiB elsewhere
