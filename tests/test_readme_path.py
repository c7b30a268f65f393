"""The README's way from a folder of photos to an exported classifier, on small data and with a small network of timm."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regulo.__main__ import main

README = Path(__file__).parents[1] / "README.md"
SMALL = [
    "model.architecture=test_efficientnet",
    "data.image_size=32",
    "data.batch_size=6",
    "data.num_workers=0",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.precision=32-true",
    "trainer.memory_format=contiguous",
    "callbacks=none",
    "logger=csv",
]
FOLDERS = {"photos": 10, "more-photos": 2}


def commands() -> list[list[str]]:
    """The words of each command in the block of the section."""
    section = README.read_text(encoding="utf-8").partition("## Your own images")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.S)
    assert block
    matches = [re.match(r'make ([\w-]+) ARGS="(.*?)"', line) for line in block[1].splitlines()]
    assert all(matches)
    return [[match[1], *shlex.split(match[2])] for match in matches if match]


def scene(label: str, seed: int) -> Image.Image:
    rng = np.random.default_rng([ord(label[0]), seed])
    pixels = rng.integers(0, 120, (5, 5, 3)) + (100 if label == "bees" else 0)
    return Image.fromarray(pixels.astype("uint8")).resize((60, 48))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the photos that the commands name, and with weights."""
    import timm
    import torch

    monkeypatch.chdir(tmp_path)
    for folder, n in FOLDERS.items():
        for label in ("ants", "bees"):
            (tmp_path / folder / label).mkdir(parents=True)
            for i in range(n):
                scene(label, 1000 * len(folder) + i).save(tmp_path / folder / label / f"{i}.jpg")
    (tmp_path / "new-photos").mkdir()
    scene("ants", 77).save(tmp_path / "new-photos" / "new.png")
    torch.manual_seed(0)
    torch.save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "weights.pth")
    return tmp_path


@pytest.mark.long
def test_every_command_of_the_way_works(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names = [words[0] for words in commands()]
    assert names == ["inspect", "train", "crossval", "evaluate", "predict", "export"]
    for name, *words in commands():
        overrides = [*SMALL, "model.weights=weights.pth"] if name in ("train", "crossval") else []
        overrides += ["folds=2", "at_once=1"] if name == "crossval" else []
        words = [word for word in words if name != "crossval" or not word.startswith("folds=")]
        assert main([name, *words, *overrides]) == 0, capfd.readouterr().err
    assert (workplace / "inspect.html").is_file()
    assert list(workplace.glob("runs/crossval/*/oof.csv"))
    assert (workplace / "new.csv").read_text().startswith("path,class,probability,class_2,probability_2\nnew-photos/new.png,")
    assert list(workplace.glob("runs/*/export/model.onnx"))


@pytest.mark.long
def test_the_python_of_the_way_works(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (words,) = (words for words in commands() if words[0] == "train")
    assert main([*words, *SMALL, "model.weights=weights.pth"]) == 0
    scene("bees", 5).save(workplace / "photo.jpg")
    section = README.read_text(encoding="utf-8").partition("## Your own images")[2]
    block = re.search(r"```python\n(.*?)```", section, re.S)
    assert block
    capsys.readouterr()
    values: dict[str, Any] = {}
    exec(block[1], values)
    assert re.fullmatch(r"(ants|bees) torch\.Size\(\[1, \d+\]\)\n", capsys.readouterr().out)
