"""Progressive resizing: the sizes of a run, against Pillow's resizing, and models that do not take it."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from regulo.config import compose
from regulo.core.errors import InputError
from regulo.core.rng import StepContext
from regulo.core.schedule import Ramp
from regulo.core.types import soft_targets
from regulo.regularizers.components.plan import Plan
from regulo.regularizers.progressive_resizing import ProgressiveResizing, shrunken
from tests.conftest import COLOR, GRAY, build_model, rng
from tests.regularizers.flow import technique


@pytest.mark.formula("progressive_resizing")
def test_the_images_of_a_step_are_those_of_pillow_in_the_size_of_the_step() -> None:
    images = rng().random((3, 2, 32, 28), dtype="float32")
    plan = Plan([ProgressiveResizing(shrink=Ramp(start=0.5, end=0.0, until=0.8))])
    targets = soft_targets(torch.arange(3), 3)
    sizes = []
    for step in range(0, 101, 20):
        small, same = plan.mix(torch.from_numpy(images), targets, StepContext(0, step=step, progress=step / 100))
        sizes.append(tuple(small.shape[2:]))
        assert same is targets
        expected = [
            [np.asarray(Image.fromarray(c).resize(sizes[-1][::-1], Image.Resampling.BILINEAR)) for c in i] for i in images
        ]
        torch.testing.assert_close(small, torch.from_numpy(np.array(expected)), rtol=0, atol=2e-6)
    assert sizes == [(16, 16), (20, 16), (24, 20), (28, 24), (32, 28), (32, 28)]


def test_sides_are_multiples_of_four_and_none_is_larger_or_vanishes() -> None:
    assert [shrunken(28, s) for s in (0.0, 0.01, 0.1, 0.2, 0.4, 0.999)] == [28, 28, 24, 24, 16, 8]
    assert [shrunken(30, s) for s in (0.0, 0.01, 0.1)] == [30, 28, 28]
    assert shrunken(6, 0.5) == 6


def test_a_model_of_one_size_is_refused_and_stays_as_it_was() -> None:
    model = build_model("vit_tiny", COLOR)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=r"progressive_resizing: the model does not take images of 20 × 20 pixels"):
        Plan([technique("progressive_resizing")]).surgery(model, COLOR)
    assert model.training
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(InputError, match="the views of an image must have one size"):
        compose.load_config(["regularizer=[progressive_resizing,aug_mix]"])


def test_a_run_begins_with_small_images_and_is_scored_on_whole_ones(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from regulo.models.resnet_small import ResNet

    sizes: list[tuple[bool, int]] = []
    forward = ResNet.forward
    monkeypatch.setattr(ResNet, "forward", lambda self, x: sizes.append((self.training, x.shape[2])) or forward(self, x))
    run("regularizer=progressive_resizing", "trainer.max_epochs=4")
    training = [size for is_training, size in sizes if is_training]
    assert training == sorted(training)
    assert (training[0], training[-1]) == (shrunken(GRAY.height, 0.4), GRAY.height)
    assert {size for is_training, size in sizes[1:] if not is_training} <= {GRAY.height, training[0]}
