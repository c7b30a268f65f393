"""A run and studies whose names look like markup."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regulo.__main__ import main
from regulo.analysis.report.command import report
from regulo.analysis.tuning.command import tune
from tests.conftest import FAST
from tests.report import studies
from tests.tuning.conftest import TINY, job_names  # noqa: F401 (a fixture)

CLASSES = ("<img src=x onerror=alert(1)>", 'a & "b" <script>alert(2)<', "$\\frac$", "日本")
LABELS = ("none", "<script>alert(3)</script>", "$\\frac$", "dropout", "cutmix")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps on four classes with hostile names, and its page."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (folder / "images" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(folder / "images" / name / f"{i}.png")
    overrides = [
        "data=image_folder",
        f"data.root={folder / 'images'}",
        "data.image_size=16",
        "data.batch_size=8",
        "model.depth=8",
    ]
    fast = [o for o in FAST if not o.startswith("callbacks")]
    assert main(["train", *fast, *overrides, "regularizer=[weight_decay]", f"run_dir={folder / 'run'}"]) == 0
    assert report([str(folder / "run")], wandb=False) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with hostile labels, and its page."""
    return _with_page(studies.make(tmp_path_factory.mktemp("study") / "it", labels=LABELS))


@pytest.fixture(scope="session")
def strengths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of strengths, and its page."""
    return _with_page(studies.make(tmp_path_factory.mktemp("study") / "it", "strengths", labels=("0", "0.5", "1", "2")))


@pytest.fixture(scope="session")
def one_seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of pairs with one seed, so without intervals, and its page."""
    return _with_page(studies.make(tmp_path_factory.mktemp("study") / "it", "pairs", 1, ("none", "a", "b", "a + b")))


@pytest.fixture
def search(job_names: list[str]) -> Path:  # noqa: F811
    """A search with fake runs, its proof, and its page."""
    assert tune(["trials=14", "study=small", "tune.search=[label_smoothing,ema,mixup,optim.lr]", *TINY]) == 0
    return Path("runs/tune/small").resolve()


def _with_page(folder: Path) -> Path:
    assert report([str(folder)], wandb=False) == 0
    return folder
