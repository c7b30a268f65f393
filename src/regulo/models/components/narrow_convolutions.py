"""Strided 1 × 1 convolutions of few channels, computed in a way that is right on every machine."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

SAFE_CHANNELS = 16
"""with so many input channels in each group, oneDNN's own way is right: the width of its blocks with AVX-512"""


def replace_narrow_convolutions(model: nn.Module) -> None:
    """Let strided 1 × 1 convolutions of fewer than 16 channels pick their pixels first, and then convolve with stride 1.

    In channels_last and float32, on a CPU, oneDNN's gradient of their weights writes outside of its memory: the process dies,
    or the gradient is wrong (uxlfoundation/oneDNN#6035, open in torch 2.15). The output is the same to rounding.
    """
    for module in model.modules():
        if not isinstance(module, nn.Conv2d) or module.kernel_size != (1, 1) or module.padding not in ((0, 0), "valid"):
            continue
        if max(module.stride) > 1 and module.in_channels // module.groups < SAFE_CHANNELS:
            convolve = partial(_pick_and_convolve, stride=module.stride, groups=module.groups)
            module._conv_forward = convolve  # type: ignore[method-assign]  # `forward` calls it with input, weight and bias


def _pick_and_convolve(images: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], groups: int) -> Tensor:
    """(B, C, H, W) → (B, C', ⌈H / stride⌉, ⌈W / stride⌉)."""
    return F.conv2d(images[..., :: stride[0], :: stride[1]], weight, bias, groups=groups)
