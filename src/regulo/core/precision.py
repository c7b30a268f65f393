"""Number formats and memory formats of a model, and the memory that it uses."""

import resource
import sys

import torch
from torch import Tensor

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
AUTOCAST_DTYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context for a precision such as `bf16-mixed`; disabled for `32-true`."""
    dtype = AUTOCAST_DTYPES[precision]
    return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)


def to_memory_format(images: Tensor, memory_format: str) -> Tensor:
    """The same images (B, C, H, W) in a memory format.

    Images of one channel can be in both formats at once. Then their strides say which one convolutions go on with, and
    `contiguous` leaves the strides as they are; `view` sets them.
    """
    images = images.contiguous(memory_format=MEMORY_FORMATS[memory_format])
    return images.view(images.shape) if memory_format == "contiguous" else images


def peak_memory(device: torch.device) -> int:
    """Peak bytes of this process so far: of GPU memory, or of its resident set without a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else 1024 * largest  # bytes on macOS, KiB elsewhere
