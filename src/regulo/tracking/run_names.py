"""Runs by name: `latest`, `best`, a path, or the name of a folder below runs/, or its beginning."""

import math
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from regulo.core import safe_io
from regulo.core.arguments import split_option
from regulo.core.errors import InputError, Problem, nearest, one_line, quote
from regulo.core.paths import expand_path
from regulo.tracking.run_dir import CONFIG, RunFolder, list_runs, recent_runs, walk_runs

NAMES = ("latest", "best")
RUN_OPTIONS = ("--resume", "--same-data")
"""options of `regulo train` whose value is a run"""


def open_run(name: str) -> RunFolder:
    """The run of this name or path. Raises InputError if it is not one."""
    return RunFolder.open(find_run(name))


def find_run(name: str) -> Path:
    """The folder of a run: `latest` is the newest finished one, `best` the one with the lowest validation loss.

    Any other name is a path (`./latest` is a folder called "latest"). If there is no such path, it is the name of a run below
    runs/, or its beginning. Raises InputError if no run is finished, and if no run or several runs have the name.
    """
    if name not in NAMES:
        path = expand_path(name)
        return path if path.exists() else _find_below_runs(name)
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


def resolve_run_options(arguments: Sequence[str]) -> list[str]:
    """The arguments with the values of `--resume` and `--same-data` as paths. `--resume latest` is the newest run that can go on.

    `--resume=RUN` becomes two words. Raises InputError if there is no such run, or if none can go on.
    """
    words = list(arguments)
    for option in RUN_OPTIONS:
        words = split_option(words, option)
    for index, (option, name) in enumerate(pairwise(words), 1):
        if option not in RUN_OPTIONS or name.startswith("--") or ("=" in name and not expand_path(name).exists()):
            continue  # an override after an option without its value is refused later
        if name in NAMES and int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
            raise InputError(Problem(option, "several processes may find different runs", "name the folder"))
        words[index] = str(_latest_resumable() if (option, name) == ("--resume", "latest") else find_run(name))
    return words


def _find_below_runs(name: str) -> Path:
    """The one run below runs/ with this name, or whose name begins with it. Raises InputError if there are none or several."""
    root = Path("runs")
    name = name.removeprefix("runs/").rstrip("/")
    runs = {run.relative_to(root).as_posix(): run for run in walk_runs(root)}
    exact = [run for key, run in runs.items() if name in (key, run.name)]
    matches = exact or [run for key, run in runs.items() if key.startswith(name) or run.name.startswith(name)]
    if len(matches) == 1:
        if name != matches[0].name:
            _print_choice(name, matches[0])
        return matches[0]
    if matches:
        names = ", ".join(map(str, matches[:3])) + (", …" if len(matches) > 3 else "")
        raise InputError(
            Problem("RUN", f"{len(matches)} runs have a name that begins with {quote(name)}", f"name one of {names}")
        )
    what = f"there is no folder and no run below runs/ with the name {quote(name)}"
    raise InputError(Problem("RUN", what, nearest(name, {*NAMES, *(run.name for run in runs.values())}) or recent_runs()))


def _latest_resumable() -> Path:
    """The newest run that can go on, and is not being trained. Raises InputError if there is none."""
    for run in list_runs():
        folder = RunFolder(run)
        if folder.can_resume(_result(run)) and not folder.is_locked():
            _print_choice("latest", run)
            return run
    what = "there is no run that can go on: with a checkpoint, not finished, not diverged, and not being trained"
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
        config = safe_io.read_yaml_values(run / CONFIG)
        record = safe_io.read_json(run / "data.json") if (run / "data.json").is_file() else {}
    except InputError:
        return "", "", ""
    digests = record.get("digests")
    digest = str(digests.get("val", "")) if isinstance(digests, dict) else ""
    return config.get("data.name", ""), config.get("data.root", ""), digest


def _print_choice(name: str, run: Path, reason: str = "") -> None:
    print(one_line(f"regulo: {name} is {run}{reason}"), file=sys.stderr)
