"""`regulo runs rm`, `pin` and `unpin`: runs that are removed completely or not at all, and runs that are never removed."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from regulo.core.errors import InputError, Problem, RunError, one_line
from regulo.core.files import file_lock
from regulo.core.text import format_bytes
from regulo.tracking.run_dir import CONFIG, LOCK, PINNED, RunFolder
from regulo.tracking.run_names import NAMES, find_run, open_run
from regulo.tracking.run_summary import RunSummary, summarize_run

TRASH = ".removed"
"""the folder beside a run in which it is deleted: its name goes at once, its files take a while"""


def pin_runs(names: Sequence[str], pinned: bool) -> int:
    """Mark runs so that they are not removed, or take the mark off. Returns the exit code. Raises InputError."""
    for folder in [open_run(name) for name in names]:
        mark = folder.path / PINNED
        try:
            mark.touch() if pinned else mark.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(Problem("RUN", f"{mark} cannot be written: {error.strerror}")) from error
        print(one_line(f"{folder.path.name} is {'pinned: it is not removed' if pinned else 'no longer pinned'}"))
    return 0


def remove_runs(names: Sequence[str], yes: bool) -> int:
    """Remove run folders after a question, which `yes` answers. Returns the exit code: 1 if the answer is no.

    Raises InputError, before anything is removed, for what is no run, is pinned or is being trained, and if there is no terminal
    to ask on.
    """
    folders = {find_run(name): name for name in names}
    runs = [summarize_run(folder, Path("runs")) for folder in folders]
    problems = [problem for run in runs if (problem := _find_obstacle(run))]
    if yes:  # the run that a script means may be gone, and another one have a name that begins like it
        beginnings = [(f, name) for f, name in folders.items() if name not in NAMES and Path(name).name != f.name]
        problems += [Problem(name, "is only the beginning of a name", f"with --yes: {folder}") for folder, name in beginnings]
    if problems:
        raise InputError(*problems)
    if not yes and not _confirm(runs):
        print("nothing was removed")
        return 1
    for run in runs:
        _remove(run.path)
        print(one_line(f"removed {run.path}"))
    return 0


def _find_obstacle(run: RunSummary) -> Problem | None:
    """Why a run is not removed; None if it can be."""
    if run.path.is_symlink():
        return Problem("RUN", f"{run.path} is a link", "remove the link with rm, or name the folder itself")
    if not os.path.lexists(run.path / CONFIG):
        return Problem("RUN", f"{run.path} is not a run folder: it has no config.yaml")
    if run.pinned:
        return Problem("RUN", f"{run.path} is pinned", f"regulo runs unpin {run.name}")
    if RunFolder(run.path).is_locked():
        return Problem("RUN", f"{run.path} is being trained", "stop it first")
    return None


def _confirm(runs: Sequence[RunSummary]) -> bool:
    """Ask whether these runs are to be removed. Raises InputError if nobody can answer."""
    for run in runs:
        study = f", part of {run.study}: it will lack this run, or train it again" if run.study else ""
        print(one_line(f"  {run.path}: {run.state}, {format_bytes(run.size)}{study}"), file=sys.stderr)
    if not sys.stdin.isatty():
        raise InputError(Problem("regulo runs rm", "there is no terminal on which to ask", "--yes removes without a question"))
    count = "this run" if len(runs) == 1 else f"these {len(runs)} runs"
    print(f"remove {count}, {format_bytes(sum(run.size for run in runs))}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remove(folder: Path) -> None:
    """Remove a run folder: its name first, then its files. Links in it are removed, and what they lead to stays.

    What an earlier removal, which was interrupted, has left beside it is removed, too. Raises RunError.
    """
    trash = folder.parent / TRASH
    try:
        if (folder / LOCK).is_symlink() or not (folder / LOCK).is_file():  # no run has made it, and opening it may do harm
            (folder / LOCK).unlink(missing_ok=True)
        with file_lock(folder / LOCK, wait=False):
            if trash.is_symlink():
                trash.unlink()
            trash.mkdir(exist_ok=True)
            folder.rename(trash / f"{folder.name}-{os.getpid()}")
    except BlockingIOError as error:
        raise RunError(f"{folder} is being trained meanwhile: it is not removed") from error
    except OSError as error:
        raise RunError(f"{folder} cannot be removed: {error.strerror}") from error
    shutil.rmtree(trash, ignore_errors=True)
    if trash.exists():
        raise RunError(f"{folder} is no longer a run, but some of its files cannot be deleted: {trash}")
