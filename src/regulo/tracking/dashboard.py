"""`regulo dashboard`: W&B's local viewer (`wandb leet`) over one run or all of them. No account, no network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from regulo.core.errors import InputError, Problem
from regulo.tracking.run_names import open_run


def dashboard(run: str | None) -> int:
    """Show a run, or all of them. Without a terminal, it prints the latest run's summary. Returns the exit code."""
    wandb = Path(sys.executable).with_name("wandb")
    folder = open_run(run).path / "wandb" if run is not None else link_runs(Path("runs"))
    if not folder.is_dir():
        raise InputError(
            Problem("RUN", f"{folder.parent} was not logged to W&B", "train with logger=wandb, which is the default")
        )
    words = ["leet", str(folder)]
    if not sys.stdout.isatty():
        print("no terminal to draw in: the latest run in words", flush=True)
        words = ["leet", "inspect", "--summary", str(folder)]
    return subprocess.run([str(wandb), *words], check=False).returncode


def link_runs(runs: Path) -> Path:
    """One folder with a link to every W&B run below `runs`, as the viewer wants them. Made anew at each call."""
    found = sorted((p for p in runs.glob("*/wandb/*run-*") if not p.is_symlink()), key=lambda p: p.stat().st_mtime)
    if not found:
        raise InputError(Problem("runs", "there is no run to show yet", "make train"))
    view = runs / ".dashboard"
    shutil.rmtree(view, ignore_errors=True)
    view.mkdir()
    for run in found:
        (view / run.name).symlink_to(os.path.relpath(run, view))
    (view / "latest-run").symlink_to(found[-1].name)
    return view
