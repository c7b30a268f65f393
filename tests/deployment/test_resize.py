"""The resizing in an exported graph, against Pillow, torch and OpenCV."""

from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from regulo.core.errors import InputError
from regulo.data.components.image_io import convert_image, import_albumentations
from regulo.evaluation.export.resize import Filter, Resize, ResizeRule, antialiased_cubic, antialiased_linear, area, resize_rule

A = import_albumentations()
RULE = [A.SmallestMaxSize(max_size=73, interpolation=cv2.INTER_AREA), A.CenterCrop(64, 64)]
SIZES = [(500, 375), (333, 500), (97, 74), (64, 300), (30, 43), (73, 73), (1, 3000), (3000, 2)]


def image_of(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype="uint8")


def resize(image: np.ndarray, rule: ResizeRule) -> np.ndarray:
    return Resize(rule)(torch.from_numpy(image)[None])[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", SIZES)
def test_the_graph_resizes_as_evaluation_does(size: tuple[int, int]) -> None:
    image = image_of(*size)
    expected = A.Compose(RULE)(image=convert_image(Image.fromarray(image), 3))["image"]
    difference = np.abs(resize(image, resize_rule(RULE)) - expected)
    assert difference.max() <= 1, "OpenCV enlarges with numbers of 11 bits"
    assert min(size) < 73 or (difference > 0).mean() < 1e-3, "all else is rounding of values that lie between two levels"


@pytest.mark.parametrize("size", [(28, 28), (40, 30), (10, 50)])
def test_images_for_data_of_one_size_are_resized_as_predict_does(size: tuple[int, int]) -> None:
    image = image_of(*size, 1)
    expected = A.Resize(28, 28)(image=image)["image"].reshape(28, 28, 1)
    difference = np.abs(resize(image, resize_rule([A.Resize(28, 28)])) - expected)
    assert difference.max() <= (size != (28, 28))


@pytest.mark.parametrize(("filter", "mode"), [(antialiased_linear, "bilinear"), (antialiased_cubic, "bicubic")])
@pytest.mark.parametrize("size", [(500, 375), (97, 74), (64, 300), (30, 43)])
def test_antialiased_filters_are_those_of_torch_and_pillow(size: tuple[int, int], filter: Filter, mode: Any) -> None:
    rule = ResizeRule(50, 60, None, filter)
    image = image_of(*size)
    weights = [
        Resize(rule)._weights(torch.arange(n), *torch.tensor([[n, m]], dtype=torch.float64).T, count).double()
        for n, m, count in ((size[0], size[1], 50), (size[1], size[0], 60))
    ]
    pixels = torch.from_numpy(image).permute(2, 0, 1).double()
    expected = F.interpolate(pixels[None], (50, 60), mode=mode, antialias=True)[0]
    torch.testing.assert_close(weights[0] @ pixels @ weights[1].T, expected, rtol=0, atol=1e-4)  # the weights are float32
    pillow = np.asarray(Image.fromarray(image).resize((60, 50), getattr(Image.Resampling, mode.upper())))
    difference = np.abs(resize(image, rule) - pillow)
    assert (difference > 1).mean() < 0.02, "Pillow rounds and clips twice: after the columns, and after the rows"
    assert mode == "bicubic" or difference.max() <= 1, "the triangle filter never leaves 0 to 255"


def test_filters_keep_a_constant_image_and_the_identity() -> None:
    for filter in (area, antialiased_linear, antialiased_cubic):
        constant = np.full((41, 77, 3), 200, "uint8")
        assert (resize(constant, ResizeRule(16, 16, 18, filter)) == 200).all()
        image = image_of(16, 16)
        assert (resize(image, ResizeRule(16, 16, None, filter)) == image).all()


@pytest.mark.parametrize(
    "transforms", [[A.Resize(28, 28, interpolation=cv2.INTER_CUBIC)], [A.LongestMaxSize(28), A.PadIfNeeded(28, 28)]]
)
def test_other_transforms_are_refused_by_name(transforms: list[Any]) -> None:
    with pytest.raises(InputError, match=f"resizes images by {type(transforms[0]).__name__}"):
        resize_rule(transforms)
