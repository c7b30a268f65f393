"""Checkpoints: written completely or not at all, verified, and read without running any code that they contain.

`best.ckpt` is the best epoch by the monitor; from `last.ckpt` the run can go on; `previous.ckpt` is the one before `last.ckpt`.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from regulo.core import safe_io
from regulo.core.errors import InputError, Problem, one_line
from regulo.tracking.run_dir import BEST, LAST, PREVIOUS, RunFolder
from regulo.tracking.upgrade import upgrade_checkpoint


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes to a temporary file and renames it; keeps the previous checkpoint as `previous.ckpt`; reads plain data only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if path.name == LAST and path.is_file():
            path.replace(path.with_name(PREVIOUS))
        temporary.replace(path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint on the host. Raises InputError if the file is torn or holds anything but plain data, none of which is run."""
    safe_io.check_archive(path)
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes a checksum (CRC-32) of each record, and reads without looking
            if record := archive.testzip():
                raise zipfile.BadZipFile(f"the checksum of {record} is wrong")
        return upgrade_checkpoint(torch.load(path, map_location="cpu", weights_only=True))
    except OSError:
        raise
    except Exception as error:  # the reader of a torn or hostile file may raise anything
        what = f"{path} is not a whole checkpoint of plain data: {' '.join(str(error).split())[:200]}"
        raise InputError(Problem("RUN", what)) from error


def latest_checkpoint(folder: RunFolder) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint from which the run can go on: the last one, or the previous one if the last is torn; None if there is none.

    Raises InputError if all are torn.
    """
    problems: list[Problem] = []
    for name in (LAST, PREVIOUS):
        path = folder.checkpoints / name
        if not path.is_file():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            problems += error.problems
            continue
        for problem in problems:
            print(one_line(f"{problem.what}; going on from {name}"))
        return path, checkpoint
    if problems:
        raise InputError(*problems)
    return None


def file_id(path: Path) -> tuple[int, int] | None:
    """An id that changes when a file is replaced by another of the same name; None if there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def final_checkpoint(folder: RunFolder, use_best: bool) -> Path:
    """The file with the run's final weights: of the best epoch, or of the last."""
    return folder.checkpoints / (BEST if use_best else LAST)


def load_final_checkpoint(folder: RunFolder, use_best: bool) -> dict[str, Any]:
    """The checkpoint with the run's final weights: of the best epoch, or of the last. Raises InputError if there is none yet."""
    path = final_checkpoint(folder, use_best)
    if not path.is_file():
        raise InputError(Problem("RUN", f"{folder.path} has no {path.name}: it did not finish an epoch"))
    return read_checkpoint(path)


def load_weights(classifier: torch.nn.Module, checkpoint: dict[str, Any]) -> None:
    """Load the weights of a classifier from the checkpoint of its LightningModule. Raises RuntimeError if they do not fit."""
    prefix = "classifier."
    weights = {key.removeprefix(prefix): w for key, w in checkpoint["state_dict"].items() if key.startswith(prefix)}
    classifier.load_state_dict(weights)
