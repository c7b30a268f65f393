"""Every experiment states its command, time and expected result at its top, and runs for a few steps."""

from pathlib import Path

import pytest
from PIL import Image

from regulo.__main__ import main
from regulo.config import compose
from regulo.core import yaml_files
from tests.conftest import rng

EXPERIMENTS = yaml_files.list_groups()["experiment"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_states_what_to_expect(name: str) -> None:
    head = (yaml_files.config_dir() / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    for part in (f"experiment={name}", "time ", "expected "):
        assert part in head
    assert "@" not in head.replace("# @package", ""), "no placeholder is left"


def make_image_folder(folder: Path) -> Path:
    """A small folder of images with the layout of ImageNet."""
    for part, count in (("train", 12), ("val", 4), ("test", 4)):
        for label in ("cat", "dog"):
            (folder / "images" / part / label).mkdir(parents=True)
            for i in range(count):
                pixels = rng(i).integers(0, 256, (40, 48, 3), dtype="uint8")
                Image.fromarray(pixels).save(folder / "images" / part / label / f"{i}.png")
    return folder / "images"


LARGE = {"convnext_t", "deit_3_s", "rsb_a2", "rsb_a3", "torchvision_v2"}
"""recipes of ImageNet, one of which is enough for the short suite"""


@pytest.mark.parametrize("name", [pytest.param(e, marks=pytest.mark.long if e in LARGE else ()) for e in EXPERIMENTS])
def test_an_experiment_runs(name: str, tmp_path: Path) -> None:
    overrides = [f"experiment={name}", "debug=fast", "logger=csv", "data.num_workers=0", f"run_dir={tmp_path / 'run'}"]
    data = compose.load_config([f"experiment={name}", "data.root=photographs"]).data.name
    if data in ("cifar10", "fashion_mnist"):  # which are not everywhere
        overrides += ["data=fashion_mnist_mini", "data.batch_size=64"]
    if data == "image_folder":
        overrides += ["trainer=cpu", f"data.root={make_image_folder(tmp_path)}", "data.image_size=32", "data.batch_size=6"]
        overrides += ["optim.lr=1e-3"]  # six images of noise are no reason to diverge
    if name == "finetune":
        overrides += ["model.weights=null"]  # which only a network has
    assert main(["train", *overrides]) == 0
