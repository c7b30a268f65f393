"""Technique × interruption × workers × ranks: what was stopped and went on equals, bit for bit, what was not.

make test-long ARGS="tests/test_resume_matrix.py"
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from regulo.config import compose
from regulo.core import registry
from tests.interruptions import SHORT, Interruption, differences, train

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

MODELS = {"resnet_small": ["model.width=4"], "vit_tiny": ["model=vit_tiny", "model.width=16", "model.depth=2"]}
INTERRUPTIONS = {
    "killed": Interruption(signal.SIGKILL, step=8),
    "killed at an epoch's edge": Interruption(signal.SIGKILL, step=10),
    "killed while validating": Interruption(signal.SIGKILL, epoch=1),
    "terminated": Interruption(signal.SIGTERM, step=7),
}
USUAL = ("killed", "terminated")
"""for each technique alone; those that work together meet all of them"""
TOGETHER = ["augment", "cutmix", "dropout", "ema", "label_smoothing", "mixup", "sam", "stochastic_depth", "weight_decay"]
DATA_TECHNIQUES = [
    "augment",
    "trivial_augment",
    "rand_augment",
    "aug_mix",
    "balanced_sampling",
    "repeated_augmentation",
    "three_augment",
    "mixup",
]
"""techniques that work in the loader's processes, or behind them"""


def plans() -> Iterator[tuple[str, list[str]]]:
    """Each technique with what it needs; most of the lesson's at once."""
    for name in registry.list_plugins("regularizer"):
        yield name, [name, *compose.required_techniques(name)]
    yield "together", TOGETHER


def cells() -> Iterator[tuple[str, str, int, int]]:
    """(model, plan, workers, ranks). With workers, images come from the loader; without, they stay on the device if they can."""
    for name, _ in plans():
        for model in MODELS:
            yield model, name, 0, 1
    for name in (*DATA_TECHNIQUES, "together"):
        yield "resnet_small", name, 2, 1
    for name in ("together", "swa", "manifold_mixup", "gradient_noise"):
        yield "resnet_small", name, 0, 2
    yield "vit_tiny", "together", 2, 2


@pytest.mark.parametrize(("model", "plan", "workers", "ranks"), list(cells()))
def test_stopped_and_gone_on_equals_unbroken(model: str, plan: str, workers: int, ranks: int, tmp_path: Path) -> None:
    words = [*SHORT, *MODELS[model], f"regularizer=[{','.join(dict(plans())[plan])}]", f"data.num_workers={workers}"]
    words += ["data.device=loader"] if workers else []
    words += ["trainer.max_epochs=4", "regularizer.swa.share=0.5"] if plan == "swa" else []
    if ranks > 1:
        words += ["trainer=ddp_cpu", f"trainer.devices={ranks}", "trainer.limit_batches=5", "trainer.log_every_n_steps=2"]
        words += ["trainer.max_epochs=3", "trainer.save_every_n_steps=3"] if plan != "swa" else ["trainer.max_epochs=4"]
    unbroken, log = tmp_path / "unbroken", tmp_path / "log"
    if train([*words, f"run_dir={unbroken}"], log=log, ranks=ranks) == 2:
        pytest.skip(log.read_text().splitlines()[-1].strip())  # the model has no such site
    unequal = {}
    for name, interruption in INTERRUPTIONS.items():
        if plan != "together" and name not in USUAL:
            continue
        folder = tmp_path / name.replace(" ", "_").replace("'", "")
        assert train([*words, f"run_dir={folder}"], interruption, log, ranks) != 0
        assert train(["--resume", str(folder)], log=log, ranks=ranks) == 0, log.read_text()[-2000:]
        if problems := differences(unbroken, folder):
            unequal[name] = problems
    assert unequal == {}
