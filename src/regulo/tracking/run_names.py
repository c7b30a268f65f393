"""Names of runs: `latest`, `best`, or a path."""

import math
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from regulo.core import safe_io
from regulo.core.errors import InputError, Problem
from regulo.core.paths import expand_path
from regulo.tracking.run_dir import LAST, PREVIOUS, RunFolder, list_runs


def open_run(name: str) -> RunFolder:
    """The run of this name or path. Raises InputError if it is not one."""
    return RunFolder.open(find_run(name))


def find_run(name: str) -> Path:
    """The folder of a run: `latest` is the newest finished one, `best` the one with the lowest validation loss.

    Everything else is a path (`./latest` is a folder of that name). Raises InputError if no run is finished.
    """
    if name not in ("latest", "best"):
        return expand_path(name)
    losses = {run: loss for run in list_runs() if (loss := _final_loss(run)) is not None}
    if not losses:
        raise InputError(Problem("RUN", f"there is no {name} run: no run below runs/ is finished", "make train makes one"))
    newest = next(iter(losses))
    if name == "latest":
        _print_choice(name, newest)
        return newest
    data = _dataset(newest)  # losses on other images say nothing about it
    comparable = [run for run in losses if _dataset(run) == data]
    best = min(comparable, key=lambda run: losses[run])
    _print_choice(name, best, f" (val/loss {losses[best]:.4f}, the lowest of {len(comparable)} finished on {data[0]})")
    return best


def resolve_resume(words: Sequence[str]) -> list[str]:
    """The words with `--resume=RUN` as two words, and with the folder of the newest run that can go on for `--resume latest`.

    Raises InputError if no run can go on.
    """
    words = [part for word in words for part in (word.split("=", 1) if word.startswith("--resume=") else [word])]
    for place, (word, name) in enumerate(pairwise(words), 1):
        if (word, name) == ("--resume", "latest"):
            if int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
                raise InputError(Problem("--resume", "several processes may find different runs", "name the folder"))
            words[place] = str(_latest_resumable())
    return words


def _latest_resumable() -> Path:
    for run in list_runs():
        folder = RunFolder(run)
        has_checkpoint = any((folder.checkpoints / name).is_file() for name in (LAST, PREVIOUS))
        if has_checkpoint and _result(run).get("status") != "done" and not folder.is_locked():
            _print_choice("latest", run)
            return run
    what = "there is no run that can go on: one that is not finished, has a checkpoint, and is not being trained"
    raise InputError(Problem("--resume", what, "regulo train begins a new one"))


def _final_loss(run: Path) -> float | None:
    """The validation loss of a finished run; None for any other."""
    result = _result(run)
    loss = result.get("val/loss")
    return loss if result.get("status") == "done" and isinstance(loss, float) and math.isfinite(loss) else None


def _result(run: Path) -> dict[str, Any]:
    """result.json, or nothing if there is none that can be read: such a run is not meant by any name."""
    try:
        return safe_io.read_json(run / "result.json")
    except InputError:
        return {}


def _dataset(run: Path) -> tuple[str, str]:
    """The data set of a run, and its folder."""
    try:
        data = RunFolder(run).read_config().get("data")
    except InputError:
        data = None
    return (str(data.get("name")), str(data.get("root"))) if isinstance(data, dict) else ("", "")


def _print_choice(name: str, run: Path, reason: str = "") -> None:
    print(f"regulo: {name} is {run}{reason}", file=sys.stderr)
