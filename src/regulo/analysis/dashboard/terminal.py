"""`regulo dashboard --terminal`: W&B's local viewer (`wandb leet`) of one or all runs. It needs no account and no network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from regulo.core.errors import InputError, Problem
from regulo.tracking.run_names import open_run


def show_in_terminal(run: str | None) -> int:
    """Show a run, or all runs. Without a terminal, print the summary of the latest run. Returns the exit code."""
    wandb = Path(sys.executable).with_name("wandb")
    folder = open_run(run).path / "wandb" if run is not None else link_runs(Path("runs"))
    if not folder.is_dir():
        raise InputError(Problem("RUN", f"{folder.parent} was not logged to W&B", "train with logger=wandb"))
    arguments = ["leet", str(folder)]
    if not sys.stdout.isatty():
        print("no terminal to draw in: this is the summary of the latest run", flush=True)
        arguments = ["leet", "inspect", "--summary", str(folder)]
    return subprocess.run([str(wandb), *arguments], check=False).returncode


def link_runs(runs: Path) -> Path:
    """Make the folder runs/.dashboard, which the viewer reads, with a link to every W&B run below `runs`; an old one is replaced.

    Raises InputError if there is no run.
    """
    wandb_runs = sorted((p for p in runs.glob("*/wandb/*run-*") if not p.is_symlink()), key=lambda p: p.stat().st_mtime)
    if not wandb_runs:
        raise InputError(Problem("runs", "there is no run to show yet", "make train"))
    view = runs / ".dashboard"
    shutil.rmtree(view, ignore_errors=True)
    view.mkdir()
    for run in wandb_runs:
        (view / run.name).symlink_to(os.path.relpath(run, view))
    (view / "latest-run").symlink_to(wandb_runs[-1].name)
    return view
