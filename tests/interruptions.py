"""Runs in processes of their own, which are stopped for real, and go on in another one."""

import csv
import dataclasses
import functools
import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from regulo.tracking import checkpoint_io

SHORT = [
    *("debug=fast", "logger=csv", "callbacks=none", "trainer=cpu", "data.num_workers=0"),
    *("trainer.max_epochs=3", "trainer.limit_batches=5", "trainer.log_every_n_steps=2", "trainer.save_every_n_steps=3"),
]
"""15 steps; a checkpoint after every third of an epoch and at its end"""


@dataclass(frozen=True)
class Interruption:
    """A signal that the run gets before a step, in the validation behind an epoch, or while its final weights are scored."""

    number: int
    step: int = -1
    epoch: int = -1
    scoring: bool = False


def train(words: list[str], interruption: Interruption | None = None, log: Path | None = None, ranks: int = 1) -> int:
    """`regulo train` in a process of its own. Returns its exit code, negative for a signal."""
    if ranks > 1:  # our launcher starts them by repeating the command line
        environment = os.environ | {
            "INTERRUPTION": json.dumps(dataclasses.asdict(interruption)) if interruption else "null",
            "LOG": str(log),
        }
        command = [sys.executable, "-m", "tests.interruptions", "train", *words]
        return subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], timeout=600, check=False).returncode
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["regulo.training.build", "regulo.training.module", "albumentations"])
    process = context.Process(target=train_here, args=(words, interruption, log))
    process.start()
    process.join(300)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def train_here(words: list[str], interruption: Interruption | None, log: Path | None) -> None:
    from regulo.__main__ import main
    from regulo.training import train as trains
    from regulo.training.module import ClassificationModule as Task

    if log:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
    torch.set_num_threads(1)
    for name in [name for name in os.environ if "WANDB_SERVICE" in name]:  # a process of its own has its own
        del os.environ[name]
    if interruption:
        if os.getpgrp() != os.getpid():  # a launcher makes each of its processes the first of a group
            os.setpgrp()
        step, validation = Task.on_train_batch_start, Task.validation_step

        @functools.wraps(step)
        def step_with_signal(self: Any, batch: Any, batch_idx: int) -> None:
            if self.global_step == interruption.step:
                os.killpg(0, interruption.number)  # as schedulers and terminals do
            step(self, batch, batch_idx)

        @functools.wraps(validation)
        def validation_with_signal(self: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            if self.current_epoch == interruption.epoch:
                os.killpg(0, interruption.number)
            validation(self, batch, batch_idx, dataloader_idx)

        final_evaluation = trains.final_evaluation

        def evaluation_with_signal(*parts: Any) -> Any:
            if interruption.scoring:
                os.killpg(0, interruption.number)
            return final_evaluation(*parts)

        trains.final_evaluation = evaluation_with_signal
        Task.on_train_batch_start = step_with_signal  # type: ignore[method-assign]
        Task.validation_step = validation_with_signal  # type: ignore[method-assign]
    raise SystemExit(main(["train", *words]))


def differences(one: Path, other: Path) -> list[str]:
    """In what two finished runs differ: weights, optimizer, schedules, averages, every logged number, final scores."""
    result = []
    for name in ("last", "best"):
        a, b = (checkpoint_io.read_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for folder in (one, other))
        for key in ("state_dict", "raw_state_dict", "averaged_states", "optimizer_states", "lr_schedulers", "callbacks", "loops"):
            if name == "last" or key == "state_dict":
                result += [f"{name}.ckpt: {key}"] if not same(a.get(key), b.get(key)) else []
    a_rows, b_rows = rows(one), rows(other)
    result += [f"metrics.csv: {len(a_rows)} rows against {len(b_rows)}"] if len(a_rows) != len(b_rows) else []
    result += [f"metrics.csv: row {i}" for i, (a, b) in enumerate(zip(a_rows, b_rows, strict=False)) if a != b]
    return result


def rows(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv, without the one number that is a time."""
    with (folder / "metrics.csv").open(newline="") as lines:
        return [{k: v for k, v in row.items() if k not in ("time", "train/images_per_second")} for row in csv.DictReader(lines)]


def same(a: Any, b: Any) -> bool:
    """Bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.equal(b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


if __name__ == "__main__":
    fields = json.loads(os.environ["INTERRUPTION"])
    train_here(sys.argv[2:], Interruption(**fields) if fields else None, Path(os.environ["LOG"]))
