"""Checkpoints: written whole or not at all, checked, and read without running anybody's code.

`best.ckpt` is the best epoch by the monitor; `last.ckpt` is where the run can go on; `previous.ckpt` is the one before that.
"""

import os
import time
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from regulo import foreign
from regulo.errors import Problem, Refused, one_line
from regulo.plan import Plan
from regulo.regularizers.base import Goal
from regulo.runs import BEST, LAST, PREVIOUS, RunFolder
from regulo.stopping import Interrupted, Wishes
from regulo.trainer import TrainerSpec


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes to a temporary name and renames; keeps the last but one; reads plain data only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        if path.name == LAST and path.is_file():
            path.replace(path.with_name(PREVIOUS))
        part.replace(path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path))


def read(path: Path) -> dict[str, Any]:
    """A checkpoint on the host. Raises Refused if the file is torn or holds anything but plain data, none of which is run."""
    foreign.check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes a checksum (CRC-32) of each record, and reads without looking
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the reader of a torn or hostile file may raise anything
        what = f"{path} is not a whole checkpoint of plain data: {' '.join(str(error).split())[:200]}"
        raise Refused(Problem("RUN", what)) from error


def latest(folder: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """Where the run can go on: the last checkpoint, or the one before if that is torn; None if it did not come so far as to
    write one. Raises Refused if all are torn.
    """
    problems: list[Problem] = []
    for name in (LAST, PREVIOUS):
        path = folder.checkpoints / name
        if not path.is_file():
            continue
        try:
            kept = read(path)
        except Refused as refusal:
            problems += refusal.problems
            continue
        for problem in problems:
            print(one_line(f"{problem.what}; going on from {name}"))
        return path, kept
    if problems:
        raise Refused(*problems)
    return None


def stamp(path: Path) -> tuple[int, int] | None:
    """By which a file that is there can be told from one that took its place; None if there is none."""
    try:
        known = path.stat()
    except FileNotFoundError:
        return None
    return known.st_ino, known.st_mtime_ns


class Best(ModelCheckpoint):
    """`best.ckpt`, by the monitor. What it remembers holds no absolute path: a run folder may be moved, and given away."""

    def __init__(self, folder: Path, goal: Goal) -> None:
        how: dict[str, Any] = {"enable_version_counter": False, "auto_insert_metric_name": False, "save_top_k": 1}
        super().__init__(folder, Path(BEST).stem, monitor=goal.monitor, mode=goal.mode, **how)

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        score = state_dict["score"]
        if score is not None:
            path = str(Path(str(self.dirpath)) / BEST)
            self.best_model_score = self.current_score = self.kth_value = score
            self.best_model_path = self.kth_best_model_path = path
            self.best_k_models = {path: score}


class Last(Checkpoint):
    """`last.ckpt`: at the end of every epoch, at intervals, and when the run is asked to stop; then it ends the run.

    With several processes all of them must agree, which they do where they wait for one another anyway: at log points.
    """

    def __init__(self, folder: Path, spec: TrainerSpec, wishes: Wishes) -> None:
        self.path, self.wishes = folder / LAST, wishes
        self.every_steps = spec.save_every_n_steps or float("inf")
        self.every_seconds = 60 * (spec.save_every_minutes or float("inf"))
        self.saved_at = (0, time.monotonic())
        self.finished = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        trainer.should_stop = checkpoint["finished"]  # by early stopping, perhaps: Lightning would forget

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["finished"] = self.finished

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.wishes.trains()  # Lightning's own handler talks to other processes from within, which may never return
        self.saved_at = (trainer.global_step, time.monotonic())

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        together, between = trainer.world_size > 1, trainer.global_step % trainer.log_every_n_steps  # type: ignore[attr-defined]
        if trainer.is_last_batch or (together and between):
            return  # at an epoch's end the checkpoint comes behind the validation
        if any(getattr(callback, "seen", None) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            return  # batches are being collected that a checkpoint does not hold
        stop = self._agreed(trainer)
        due = not between and self._due(trainer)  # where the loss has just been found finite
        if together:
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if stop or due:
            self.save(trainer)
        if stop:
            raise stop

    def on_validation_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        if trainer.world_size == 1 and self.wishes.signal and (stop := self.wishes.granted()):
            raise stop  # who signals waits for seconds only; what is up is `max_time`'s, which can wait for the next checkpoint

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.finished = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        self.save(trainer)
        stop = self._agreed(trainer)
        if stop and not self.finished:  # else it is granted behind the training
            raise stop

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint, and begin the next interval."""
        trainer.save_checkpoint(self.path)
        self.saved_at = (trainer.global_step, time.monotonic())

    def _agreed(self, trainer: Trainer) -> Interrupted | None:
        """The end that this process was asked for, or another one. Called by all of them together."""
        stop = self.wishes.granted()
        if trainer.world_size > 1 and trainer.strategy.reduce_boolean_decision(stop is not None, all=False):
            return stop or Interrupted("another process was asked to stop", 143)
        return stop

    def _due(self, trainer: Trainer) -> bool:
        step, since = self.saved_at
        steps = trainer.global_step - step
        return steps >= self.every_steps or time.monotonic() - since >= self.every_seconds


def keepers(folder: Path, goal: Goal, trainer: TrainerSpec, wishes: Wishes) -> list[Checkpoint]:
    """What writes the checkpoints of a run, and ends it when it is asked to stop."""
    return [Best(folder, goal), Last(folder, trainer, wishes)]


def handed_on(folder: RunFolder, plan: Plan) -> dict[str, Any]:
    """The checkpoint whose weights the run hands on. Raises Refused if there is none yet."""
    path = folder.checkpoints / (BEST if plan.keeps_best else LAST)
    if not path.is_file():
        raise Refused(Problem("RUN", f"{folder.path} has no {path.name}: it did not finish an epoch"))
    return read(path)


def load_weights(classifier: torch.nn.Module, checkpoint: dict[str, Any]) -> None:
    """The weights of the task's classifier, from the task's checkpoint."""
    prefix = "classifier."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    classifier.load_state_dict(weights)
