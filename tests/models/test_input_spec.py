"""Weights bring the input that they expect: it is said, kept with the run, and what is set has priority."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from regulo.__main__ import main
from regulo.config.compose import load_config
from regulo.core.errors import InputError
from regulo.core.input_spec import fit_channels
from regulo.evaluation.restore import load_run
from regulo.tracking.run_dir import RunFolder

PHOTOS = ["data=image_folder", "data.batch_size=4", "regularizer=none", "trainer=cpu", "trainer.max_epochs=1"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for n in range(10):
            Image.fromarray(rng.integers(0, 256, (50, 60, 3), dtype="uint8")).save(tmp_path / "photos" / kind / f"{n}.png")
    return tmp_path / "photos"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    import timm

    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    return tmp_path / "w.pth"


def config_of(*overrides: str) -> Any:
    return load_config(overrides).take_input_of_weights()


def test_the_input_of_published_weights_fills_what_is_null(weights: Path) -> None:
    """The numbers are those of timm's own transforms for this model."""
    import timm
    from timm.data import resolve_data_config

    expected = resolve_data_config(timm.get_pretrained_cfg("test_resnet").to_dict())
    timm_model = ["model=timm", "model.architecture=test_resnet", f"model.weights={weights}"]
    config, note = config_of("data=image_folder", *timm_model)
    data = config.data
    assert (data.image_size, data.crop_share, data.interpolation) == (160, expected["crop_pct"], expected["interpolation"])
    assert (tuple(data.mean), tuple(data.std)) == (expected["mean"], expected["std"])
    assert note == "input of the weights: image_size 160, crop_share 0.95, interpolation bilinear, mean 0.5, std 0.5"
    config, note = config_of("data=image_folder", "data.image_size=96", "data.crop_share=1", *timm_model)
    assert (config.data.image_size, config.data.crop_share, config.data.interpolation) == (96, 1.0, "bilinear")
    assert note.endswith("; set otherwise: image_size 96, crop_share 1")
    config, note = config_of(*timm_model)
    assert note == "input of the weights: mean 0.5, std 0.5", "images of a fixed size take the normalization only"
    assert config_of("data=image_folder", "model=timm") == (load_config(["data=image_folder", "model=timm"]), "")


def test_the_input_of_torchvisions_weights_is_that_of_their_transforms() -> None:
    from torchvision.models import ResNet50_Weights

    tv = ["data=image_folder", "model=torchvision", "model.architecture=resnet50"]
    for name in ("IMAGENET1K_V1", "IMAGENET1K_V2", "true"):
        preset = ResNet50_Weights["DEFAULT" if name == "true" else name].transforms()
        data = config_of(*tv, f"model.weights={name}")[0].data
        assert data.image_size == preset.crop_size[0]
        assert data.image_size / data.crop_share == pytest.approx(preset.resize_size[0])
        assert (data.mean, data.std, data.interpolation) == (preset.mean, preset.std, "bilinear")


def test_inception_gets_the_range_that_its_own_conversion_would_give() -> None:
    from torchvision.models import googlenet

    data = config_of("data=image_folder", "model=torchvision", "model.architecture=googlenet", "model.weights=true")[0].data
    theirs = googlenet(transform_input=True, init_weights=False, aux_logits=False)
    pixels = torch.rand(1, 3, 8, 8)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    ours = (pixels - torch.tensor(data.mean).view(1, 3, 1, 1)) / torch.tensor(data.std).view(1, 3, 1, 1)
    torch.testing.assert_close(ours, theirs._transform_input((pixels - mean) / std))


def test_a_run_keeps_the_input_and_goes_on_and_predicts_without_the_weights(
    photos: Path, weights: Path, tmp_path: Path, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["model=timm", "~model.width", "model.architecture=test_resnet", f"model.weights={weights}"]
    overrides = [*PHOTOS, f"data.root={photos}", "data.image_size=32", *source]
    folder, result = run(*overrides)
    assert result["status"] == "done"
    output = capsys.readouterr().out
    assert (
        "input of the weights: crop_share 0.95, interpolation bilinear, mean 0.5, std 0.5; set otherwise: image_size 32" in output
    )
    weights.unlink()
    loaded = load_run(RunFolder(folder))
    assert loaded.dataset_info.mean == (0.5, 0.5, 0.5)
    assert (loaded.config.data.image_size, loaded.config.data.crop_share) == (32, 0.95)  # type: ignore[attr-defined]
    assert main(["evaluate", str(folder)]) == 0
    config, _ = config_of("data=image_folder", f"model.weights={folder}")
    assert (config.data.image_size, config.data.crop_share, config.data.mean) == (32, 0.95, [0.5, 0.5, 0.5])
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(InputError, match=r"^model\.weights|checkpoint"):
        config_of("data=image_folder", f"model.weights={folder}")


def test_normalization_fits_the_channels() -> None:
    assert fit_channels([0.1, 0.2, 0.6], 1) == pytest.approx((0.3,))
    assert fit_channels([0.1], 3) == (0.1, 0.1, 0.1)
    with pytest.raises(ValueError, match="it has 2 numbers, and the images have 3 channels"):
        fit_channels([0.1, 0.2], 3)
    with pytest.raises(InputError, match="mean and std belong together"):
        load_config(["data.mean=[0.5]"])
    with pytest.raises(InputError, match=r"data\.std"):
        load_config(["data.mean=[0.5]", "data.std=[0]"])
