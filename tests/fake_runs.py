"""Runs that are not trained: the files that `regulo train` leaves, with random numbers. And jobs that start no process."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from regulo.analysis.launchers.local import JobEvent
from regulo.config import compose
from regulo.core.paths import expand_path

KEYS = ("acc", "loss", "ece", "brier")


def fake_train(overrides: Sequence[str]) -> int:
    """Write the files of `regulo train`, with random numbers that depend on the whole configuration."""
    words = list(overrides)
    same_data = words[words.index("--same-data") + 1] if "--same-data" in words else None
    config = compose.load_config([word for word in words if word not in ("--same-data", same_data)])
    assert config.run.run_dir
    folder = expand_path(config.run.run_dir)
    folder.mkdir()
    (folder / "config.yaml").write_text(f"seed: {config.run.seed}")
    (folder / "result.json").write_text(json.dumps(make_result(folder.name) | {"seed": config.run.seed}))
    if same_data:
        (folder / "data.json").write_text((expand_path(same_data) / "data.json").read_text())
    return 0


def make_result(name: str) -> dict[str, Any]:
    """The result of a finished run, with random numbers that depend on its name."""
    rng = random.Random(name)
    scores = {f"{split}/{key}": rng.random() for split in ("train_clean", "val", "test") for key in KEYS}
    costs = {"epoch_seconds": rng.random(), "peak_memory_mb": 600}
    counts = dict.fromkeys(("epochs", "steps", "weights_epoch", "params", "fit_seconds", "images_per_second"), 1)
    gaps = {"gap/acc": rng.random(), "gap/loss": rng.random()}
    return {"status": "done", "weights": "last", **gaps, **counts, **costs, **scores}


def queue_in_process(names: list[str]) -> Any:
    """In place of `launchers.local.run_queue`: jobs run in this process, and add their names to the list."""

    def run_queue(next_job: Callable[[], Any], slots: object, logs: object) -> Iterator[JobEvent]:
        while job := next_job():
            name, function = job
            names.append(name)
            yield JobEvent(name)
            try:
                function()
                yield JobEvent(name, 1.0)
            except Exception as error:
                yield JobEvent(name, 1.0, str(error).splitlines()[0])

    return run_queue
