"""Runs by name: `latest`, `best`, or a path."""

import math
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from regulo.core import safe_io
from regulo.core.arguments import split_option
from regulo.core.errors import InputError, Problem, one_line
from regulo.core.paths import expand_path
from regulo.tracking.run_dir import RunFolder, list_runs


def open_run(name: str) -> RunFolder:
    """The run of this name or path. Raises InputError if it is not one."""
    return RunFolder.open(find_run(name))


def find_run(name: str) -> Path:
    """The folder of a run: `latest` is the newest finished one, `best` the one with the lowest validation loss.

    Any other name is a path (`./latest` is a folder called "latest"). Raises InputError if no run is finished.
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
    data = _dataset(newest)  # losses on other data cannot be compared
    comparable = [run for run in losses if _dataset(run) == data]
    best = min(comparable, key=lambda run: losses[run])
    _print_choice(name, best, f" (val/loss {losses[best]:.4f}, the lowest of {len(comparable)} finished on {data[0]})")
    return best


def resolve_resume(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--resume=RUN` as two, and with `latest` after `--resume` as the newest run that can go on.

    Raises InputError if no run can go on.
    """
    arguments = split_option(arguments, "--resume")
    for index, (option, name) in enumerate(pairwise(arguments), 1):
        if (option, name) == ("--resume", "latest"):
            if int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
                raise InputError(Problem("--resume", "several processes may find different runs", "name the folder"))
            arguments[index] = str(_latest_resumable())
    return arguments


def _latest_resumable() -> Path:
    """The newest run that is not finished, has a checkpoint, and is not being trained. Raises InputError if there is none."""
    for run in list_runs():
        folder = RunFolder(run)
        if folder.has_checkpoint() and _result(run).get("status") != "done" and not folder.is_locked():
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
    """result.json; empty if it is missing or cannot be read, so that no name means such a run."""
    try:
        return safe_io.read_json(run / "result.json")
    except InputError:
        return {}


def _dataset(run: Path) -> tuple[str, str, str]:
    """The name of a run's data set, the folder of its files, and a digest of the validation images.

    What cannot be read is an empty string.
    """
    try:
        data = RunFolder(run).read_config().get("data")
        record = safe_io.read_json(run / "data.json") if (run / "data.json").is_file() else {}
    except InputError:
        return "", "", ""
    digests = record.get("digests")
    digest = str(digests.get("val", "")) if isinstance(digests, dict) else ""
    return (str(data.get("name")), str(data.get("root")), digest) if isinstance(data, dict) else ("", "", digest)


def _print_choice(name: str, run: Path, reason: str = "") -> None:
    print(one_line(f"regulo: {name} is {run}{reason}"), file=sys.stderr)
