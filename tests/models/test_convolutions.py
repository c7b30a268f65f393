"""Convolutions give the right gradients in every memory format, and run in the format that the settings name."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from regulo.core.precision import MEMORY_FORMATS
from regulo.core.types import DatasetInfo
from regulo.models.components.classifier import Classifier
from tests.conftest import GRAY, build_model

FORMATS = list(MEMORY_FORMATS)


class Strides(TorchDispatchMode):
    """Notes the stride of each convolution that torch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.of_convolutions: list[list[int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution.default:
            self.of_convolutions.append(list(args[3]))
        elif func is torch.ops.aten.convolution_backward.default:
            self.of_convolutions.append(list(args[4]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("channels", "groups", "stride"), [(1, 1, 2), (4, 1, 2), (8, 1, (1, 2)), (12, 2, 3), (24, 2, 2)])
def test_narrow_strided_convolutions_are_right_in_every_format(
    memory_format: str, channels: int, groups: int, stride: int | tuple[int, int]
) -> None:
    """Against float64. oneDNN's own kernel, which is not called, would write outside of its memory; that does not always show."""
    torch.manual_seed(0)
    info = DatasetInfo(channels, 16, 16, tuple("abcd"), (0.5,) * channels, (0.25,) * channels)
    model = nn.Sequential(
        nn.Conv2d(channels, 8, 1, stride, groups=groups), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
    )
    exact = copy.deepcopy(model).double()
    images = torch.randint(256, (32, channels, 16, 16)).to(torch.uint8)
    gradient = torch.randn(32, 4)
    exact((images.double() / 255 - 0.5) / 0.25).backward(gradient.double())

    classifier = Classifier(model, info, memory_format)
    with Strides() as strides:
        classifier(images).backward(gradient)
    assert strides.of_convolutions == [[1, 1], [1, 1]]  # forwards and backwards
    for p, wanted in zip(model.parameters(), exact.parameters(), strict=True):
        assert p.grad is not None
        torch.testing.assert_close(p.grad.double(), wanted.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_gray_images_are_in_the_format_that_the_settings_name(memory_format: str) -> None:
    """Images (B, H, W, 1), permuted, are contiguous and channels_last at once: the strides decide what convolutions do."""
    classifier = Classifier(build_model("resnet_small", GRAY, width=16), GRAY, memory_format)
    formats = []
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, out: formats.append(out.is_contiguous(memory_format=torch.channels_last)))
    images = torch.zeros(4, 28, 28, 1, dtype=torch.uint8).permute(0, 3, 1, 2)
    classifier(images)
    assert formats
    assert set(formats) == {memory_format == "channels_last"}
