"""A run on a small folder of photographs of different sizes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from regulo.__main__ import main
from tests.conftest import FAST

CLASSES = ("=cmd", "a,b", "løv")
"""names that a spreadsheet would run, or that have a comma or letters beyond ASCII; sorted"""


class PhotoRun(NamedTuple):
    """A run and the folder of its images, which has `train/`, `val/` and `test/`."""

    folder: Path
    data: Path


def write_photos(folder: Path, classes: Sequence[str], n: int, seed: int = 0) -> Path:
    """n images of each class, brighter from class to class, of different sizes."""
    rng = np.random.default_rng(seed)
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            height, width = rng.integers(20, 60, 2)
            pixels = rng.integers(0, 100, (height, width, 3)) + 25 * k
            Image.fromarray(pixels.astype("uint8")).save(folder / name / f"{i:02}.png")
    return folder


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory: pytest.TempPathFactory) -> PhotoRun:
    """A run that is trained once, for tests that only read it or copy it. It has a temperature."""
    root = tmp_path_factory.mktemp("photo_run")
    for seed, (part, n) in enumerate({"train": 16, "val": 4, "test": 7}.items()):
        write_photos(root / "data" / part, CLASSES, n, seed)
    words = ["data=image_folder", f"data.root={root / 'data'}", "data.image_size=16", "data.batch_size=8"]
    plan = "regularizer=[weight_decay,temperature_scaling]"
    trainer = ["trainer=cpu", "trainer.precision=32-true", "trainer.memory_format=contiguous", "trainer.limit_batches=null"]
    assert main(["train", *FAST, *words, plan, *trainer, "trainer.max_epochs=1", f"run_dir={root / 'run'}"]) == 0
    return PhotoRun(root / "run", root / "data")
