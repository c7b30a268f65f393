"""Checkpoints: written whole or not at all, and read without running anybody's code."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from regulo.errors import Problem, Refused
from regulo.plan import Plan
from regulo.regularizers.base import Goal
from regulo.runs import RunFolder


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes to a temporary name and renames; reads plain data only."""

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
        part.replace(path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read(Path(path))


def read(path: Path) -> dict[str, Any]:
    """A checkpoint on the host. Raises Refused if the file is torn or holds anything but plain data, none of which is run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # the reader of a torn or hostile file may raise anything
        what = f"{path} is not a whole checkpoint of plain data: {' '.join(str(error).split())[:200]}"
        raise Refused(Problem("RUN", what)) from error


def keepers(folder: Path, goal: Goal) -> list[ModelCheckpoint]:
    """`best.ckpt`, by the monitor, and `last.ckpt`, by time: `save_last` with `save_top_k=1` would keep the best twice."""
    common: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False, "auto_insert_metric_name": False}
    best = ModelCheckpoint(filename="best", monitor=goal.monitor, mode=goal.mode, save_top_k=1, **common)
    last = ModelCheckpoint(filename="last", monitor=None, save_top_k=1, save_on_train_epoch_end=True, **common)
    return [best, last]


def handed_on(folder: RunFolder, plan: Plan) -> dict[str, Any]:
    """The checkpoint whose weights the run hands on. Raises Refused if there is none yet."""
    path = folder.checkpoints / ("best.ckpt" if plan.keeps_best else "last.ckpt")
    if not path.is_file():
        raise Refused(Problem("RUN", f"{folder.path} has no {path.name}: it did not finish an epoch"))
    return read(path)


def load_weights(classifier: torch.nn.Module, checkpoint: dict[str, Any]) -> None:
    """The weights of the task's classifier, from the task's checkpoint."""
    prefix = "classifier."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    classifier.load_state_dict(weights)
