"""The files of W&B in a run folder: `wandb/[offline-]run-<time>-<id>/`. Imports nothing heavy."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STEP = "trainer/global_step"
"""the column with the optimizer steps, against which everything is drawn"""


@contextmanager
def remove_local_paths(folder: Path) -> Iterator[None]:
    """Context after which W&B's debug logs below the folder are removed: they contain paths of this machine, and link to one."""
    try:
        yield
    finally:
        with suppress(OSError):
            for link in folder.glob("debug*.log"):
                link.unlink()
        for run in _list_run_folders(folder):
            shutil.rmtree(run / "logs", ignore_errors=True)


def _list_run_folders(folder: Path) -> list[Path]:
    """The folders of W&B's runs, without links, which may lead anywhere."""
    return sorted(run for run in folder.glob("*run-*") if run.is_dir() and not run.is_symlink())


def find_run_id(folder: Path) -> str | None:
    """The id of the W&B run whose files are in a run folder; None if there is none."""
    runs = list_named_runs(folder)
    return run_id_of(runs[-1]) if runs else None


def run_id_of(files: Path) -> str:
    """The id of a W&B run, from its folder [offline-]run-<time>-<id>."""
    return files.name.rpartition("-")[2]


def list_named_runs(folder: Path) -> list[Path]:
    """W&B's folders [offline-]run-<time>-<id> in a run folder, sorted."""
    return [run for run in _list_run_folders(folder / "wandb") if run.name.count("-") >= 2]
