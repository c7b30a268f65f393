"""Studies whose runs are fake: a formula in place of training, and jobs that start no process."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from regulo.analysis.launchers import local
from regulo.analysis.tuning import command
from regulo.analysis.tuning.budget import Cost
from regulo.config import compose
from regulo.config.schema import Config
from regulo.core.paths import expand_path
from tests.fake_runs import make_result, queue_in_process

TINY = ["model.width=4", "data.num_workers=0", "trainer.max_epochs=27"]
HELPFUL = {"label_smoothing": 0.15, "ema": 0.1}
"""techniques that the formula rewards, in nats"""


def formula(config: Config) -> float:
    """A validation loss: some techniques help, a wrong learning rate hurts, short runs and seeds are noisy."""
    loss = 1.0 + 0.05 * abs(math.log(config.optim.lr / 0.1)) + 2 / config.trainer.max_epochs
    loss -= sum(gain for name, gain in HELPFUL.items() if name in config.regularizer)
    loss += 0.02 * len(config.regularizer.keys() - HELPFUL.keys())
    return loss + 0.002 * ((config.run.seed * 7919) % 11 - 5)


def formula_train(overrides: Sequence[str]) -> int:
    """Write what `regulo train` would, with numbers from the formula."""
    words = list(overrides)
    if "--resume" in words:
        raise AssertionError("nothing was left half done")
    config = compose.load_config(words)
    folder = expand_path(str(config.run.run_dir))
    folder.mkdir()
    (folder / "config.yaml").write_text(f"seed: {config.run.seed}")
    loss = formula(config)
    scores = {"val/loss": loss, "test/loss": loss + 0.01, "val/acc": 1 - loss / 2, "test/acc": 0.99 - loss / 2}
    result = make_result(folder.name) | {"seed": config.run.seed} | scores
    (folder / "result.json").write_text(json.dumps(result))
    return 0


@pytest.fixture
def job_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs are fake, jobs run in this process, in an empty folder. Returns the list of their names, which grows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("regulo.training.train.train", formula_train)
    monkeypatch.setattr("regulo.analysis.shared_settings.pinned_overrides", lambda config, root: [])
    monkeypatch.setattr("regulo.analysis.shared_settings.same_data_arguments", lambda config, root: [])
    monkeypatch.setattr(command, "guess_cost", lambda config, args, queue: Cost(1.0, 0.5))
    names: list[str] = []
    monkeypatch.setattr(local, "run_queue", queue_in_process(names))
    return names
