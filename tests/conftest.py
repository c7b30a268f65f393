"""Shared helpers. Tests use the data of the package, small models, and no network."""

import copy
import csv
import functools
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from regulo.core import yaml_files

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from regulo.__main__ import main
from regulo.config import compose as config_compose
from regulo.core import affinity, registry
from regulo.core.types import DatasetInfo, Split
from regulo.data import fashion_mnist_mini
from regulo.tracking.records import Metrics, parse_metrics

if "PYTEST_XDIST_WORKER" in os.environ:  # one core each: tests are small, and more threads would slow each other down
    worker, cores = int(os.environ["PYTEST_XDIST_WORKER"][2:]), affinity.available_cores()
    affinity.pin_to_cores([cores[worker % len(cores)]])

# ---- what does not change during the tests is computed once: Hydra takes 0.3 s to compose, bzip2 0.3 s to unpack

compose, unpack = config_compose.compose_groups, fashion_mnist_mini.unpack


@functools.cache
def compose_files(choices: tuple[str, ...], files: tuple[tuple[str, int, int], ...]) -> Any:
    return compose(choices)


def compose_once(choices: Sequence[str]) -> Any:
    """The composed config of these choices, cached until a YAML file changes."""
    folders = yaml_files.config_dirs()
    stats = ((str(file.relative_to(folder)), file.stat()) for folder in folders for file in sorted(folder.rglob("*.yaml")))
    files = tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
    return copy.deepcopy(compose_files(tuple(choices), files))


@functools.cache
def unpack_once(content: bytes) -> dict[str, Split]:
    """The images of the package; their labels are read-only."""
    splits = unpack(content)
    for split in splits.values():
        split.labels.flags.writeable = False
    return splits


config_compose.compose_groups, fashion_mnist_mini.unpack = compose_once, unpack_once

GRAY = DatasetInfo(1, 28, 28, tuple("abcdefghij"), (0.29,), (0.35,))
COLOR = DatasetInfo(3, 32, 32, tuple("abcde"), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
SMALL = {
    "resnet_small": {"depth": 8, "width": 4},
    "vit_tiny": {"width": 16, "depth": 2},
    "torchvision": {"small_stem": False},
    "timm": {"architecture": "test_resnet"},
    "airbench": {"widths": [8, 8, 8]},
}
"""fields that make models small; a model that is not listed is tested with its defaults"""


@functools.cache
def initial_model(name: str, dataset_info: DatasetInfo, **fields: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return registry.get_plugin("model", name)(**(SMALL.get(name, {}) | fields)).build(dataset_info)


def build_model(name: str, dataset_info: DatasetInfo, **fields: Any) -> torch.nn.Module:
    """A new model with the weights of seed 0: a copy, because that is faster than to initialize them again."""
    torch.manual_seed(0)
    return copy.deepcopy(initial_model(name, dataset_info, **fields))


def images_of(dataset_info: DatasetInfo, n: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        n, dataset_info.channels, dataset_info.height, dataset_info.width, generator=torch.Generator().manual_seed(seed)
    )


def environment_outside_make() -> dict[str, str]:
    """The variables of this process without those of a make that runs the tests: it would pass its ARGS on."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "ARGS"))}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def metrics_of(rows: Sequence[Mapping[str, str]]) -> Metrics:
    """What is read from a metrics.csv with these rows."""
    file = io.StringIO()
    writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
    writer.writeheader()
    writer.writerows(rows)
    return parse_metrics(file.getvalue(), "metrics.csv")


FAST = ["debug=fast", "model.width=4", "data.num_workers=0", "logger=csv", "callbacks=none"]


class FinishedRun(NamedTuple):
    """A run of the default model and plan with seed 3 and all callbacks."""

    folder: Path
    result: dict[str, Any]
    output: str


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run that is trained once, for tests that only read it."""
    folder, output = tmp_path_factory.mktemp("finished") / "run", io.StringIO()
    with redirect_stdout(output):
        assert main(["train", *FAST, "seed=3", "callbacks=default", "trainer=cpu", f"run_dir={folder}"]) == 0
    return FinishedRun(folder, json.loads((folder / "result.json").read_text()), output.getvalue())


LOGGED = ["logger=wandb", "logger.also=[tensorboard,mlflow]", "logger.artifact=best", "logger.alerts=true", "logger.tags=[mine]"]
"""every logger, with all that it can be asked for"""


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is written into the cache folder of the user."""
    os.environ["REGULO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def logged_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run with all loggers and callbacks, a penalty and a ramp, for tests that only read it."""
    folder, output = tmp_path_factory.mktemp("logged") / "run", io.StringIO()
    plan = ["+regularizer=confidence_penalty", "regularizer.confidence_penalty.beta={start:0,end:0.1}", "seed=1"]
    with redirect_stdout(output):
        assert main(["train", *FAST, *LOGGED, *plan, "callbacks=default", "trainer=cpu", f"run_dir={folder}"]) == 0
    return FinishedRun(folder, json.loads((folder / "result.json").read_text()), output.getvalue())


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A function that trains for a few steps in this process, and returns the run folder and result.json."""

    def train(*overrides: str, name: str = "run", expect: int = 0) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path / name
        assert main(["train", *FAST, f"run_dir={folder}", *overrides]) == expect
        file = folder / "result.json"
        return folder, json.loads(file.read_text()) if file.exists() else {}

    return train


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if path is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
