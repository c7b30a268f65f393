"""The resizing in an exported graph, against that of evaluation, and against Pillow and torch."""

from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from regulo.core import resize
from regulo.core.errors import InputError
from regulo.core.resize import BoxChooser, CenterBox, Interpolation, RandomBox, WholeBox
from regulo.data.components.image_io import convert_image
from regulo.evaluation.export.resize import FILTERS, Resize

SIZES = [(500, 375), (333, 500), (97, 74), (64, 300), (30, 43), (73, 73), (1, 3000), (3000, 2)]


def image_of(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype="uint8")


def graph(image: np.ndarray, rule: resize.Resize) -> np.ndarray:
    return Resize(rule)(torch.from_numpy(image)[None])[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("box", [CenterBox(7 / 8), CenterBox(), WholeBox()], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_graph_resizes_as_evaluation_does(size: tuple[int, int], box: BoxChooser, interpolation: Interpolation) -> None:
    rule = resize.Resize(64, 48, box, interpolation)
    image = image_of(*size)
    expected = rule(convert_image(Image.fromarray(image), 3), Random()).astype(int)
    difference = np.abs(graph(image, rule) - expected)
    assert difference.max() <= 1
    assert (difference > 0).sum() <= 1, "a weight that lies between two numbers of 15 bits"


@pytest.mark.parametrize("size", [(28, 28), (40, 30), (10, 50)], ids=str)
def test_gray_images_are_resized_too(size: tuple[int, int]) -> None:
    rule, image = resize.Resize(28, 28, WholeBox()), image_of(*size, 1)
    assert (graph(image, rule) == rule(image, Random())).all()


@pytest.mark.parametrize("mode", FILTERS)
@pytest.mark.parametrize("size", [(500, 375), (97, 74), (64, 300), (30, 43)], ids=str)
def test_the_filters_are_those_of_torch_and_pillow(size: tuple[int, int], mode: Any) -> None:
    rule, image = resize.Resize(50, 60, WholeBox(), mode), image_of(*size)
    module = Resize(rule)
    sides = [torch.tensor(float(side), dtype=torch.float64) for side in size]
    (rows, row_scale), (columns, column_scale) = (
        module._weights(torch.arange(size[i]), (50, 60)[i], sides[i], sides[i], sides[i]) for i in (0, 1)
    )
    assert rows.abs().max() < 2**15
    pixels = torch.from_numpy(image).permute(2, 0, 1).double()
    resized = rows.double() @ pixels @ columns.double().T / (row_scale * column_scale)
    expected = F.interpolate(pixels[None], (50, 60), mode=mode, antialias=True)[0]
    torch.testing.assert_close(resized, expected, rtol=0, atol=0.1)  # the weights have 15 bits
    pillow = np.asarray(Image.fromarray(image).resize((60, 50), getattr(Image.Resampling, mode.upper()))).astype(int)
    difference = np.abs(graph(image, rule) - pillow)
    assert (difference > 1).mean() < 0.02, "Pillow has weights of 22 bits"


@pytest.mark.parametrize("mode", FILTERS)
def test_filters_keep_a_constant_image_and_the_identity(mode: Any) -> None:
    constant, image = np.full((41, 77, 3), 200, "uint8"), image_of(16, 16)
    assert (graph(constant, resize.Resize(16, 16, CenterBox(), mode)) == 200).all()
    assert (graph(image, resize.Resize(16, 16, WholeBox(), mode)) == image).all()


def test_another_box_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="cuts images by RandomBox"):
        Resize(resize.Resize(28, 28, RandomBox()))
