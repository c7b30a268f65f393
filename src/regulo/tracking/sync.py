"""`regulo sync`: upload offline W&B runs, each once, through W&B's own client (`wandb sync`)."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regulo.core import safe_io
from regulo.core.errors import InputError, Problem, one_line
from regulo.core.files import atomic_write
from regulo.tracking.run_dir import RunFolder
from regulo.tracking.run_names import open_run
from regulo.tracking.servers import check_wandb_server
from regulo.tracking.wandb_files import list_named_runs, run_id_of

ANONYMOUS = {"WANDB_PROGRAM": "regulo", "WANDB_ERROR_REPORTING": "false"}
"""what W&B's client would send otherwise: its own path, and its errors"""
RECORD = "uploaded.json"
"""file in a run's wandb/ that has the number of rows which W&B has, by the id of its W&B run"""
AT_ONCE = 20
"""runs that one process of W&B's client uploads"""


@dataclass(frozen=True)
class OfflineRun:
    """A W&B run in a run folder."""

    folder: RunFolder
    files: Path
    """W&B's folder [offline-]run-<time>-<id>"""
    rows: int
    """number of rows of metrics.csv"""
    uploaded_rows: int | None
    """number of rows when it was uploaded; None: it was not"""

    @classmethod
    def read(cls, folder: RunFolder, files: Path) -> "OfflineRun":
        """The W&B run of which these are the files. Raises InputError if the record is damaged."""
        uploaded_rows = _read_record(files.parent / RECORD).get(run_id_of(files))
        return cls(folder, files, _count_rows(folder.path / "metrics.csv"), uploaded_rows)

    @property
    def run_id(self) -> str:
        """W&B's id of the run."""
        return run_id_of(self.files)

    @property
    def has_marker(self) -> bool:
        """Whether W&B's client has uploaded exactly this file: it then leaves a file beside it."""
        return any(self.files.glob("*.wandb.synced"))

    def reason_to_skip(self) -> str:
        """Why it is not uploaded; empty if it is."""
        if self.folder.is_locked():
            return "is being trained: later"
        if self.has_marker or self.uploaded_rows == self.rows:
            return "is uploaded already"
        return "" if any(self.files.glob("*.wandb")) else "has no file of W&B"

    def describe_rows(self) -> str:
        """The number of rows, and how many of them are new."""
        is_resumed = self.uploaded_rows is not None
        return f"{self.rows} rows" + (f", {self.rows - (self.uploaded_rows or 0)} of them new" if is_resumed else "")

    def record(self) -> None:
        """Write down how many rows W&B has."""
        file = self.files.parent / RECORD
        atomic_write(file, json.dumps({**_read_record(file), self.run_id: self.rows}) + "\n")


def sync(runs: Sequence[str], dry_run: bool) -> int:
    """Upload the W&B runs of these run folders (default: the offline ones of all below runs/) that are not uploaded yet.

    Returns the exit code: 1 if one could not be uploaded. Raises InputError if there is none, or no key or server.
    """
    waiting = []
    for run in list_offline_runs(runs):
        if reason := run.reason_to_skip():
            print(one_line(f"{run.folder.path}: {reason}"))
        else:
            waiting.append(run)
    if dry_run:
        for run in waiting:
            print(one_line(f"{run.folder.path}: would be uploaded, {run.describe_rows()}"))
        return 0
    if waiting:
        check_wandb_server("sync", "")
    parts = [waiting[start : start + AT_ONCE] for start in range(0, len(waiting), AT_ONCE)]
    return max([upload(part) for part in parts], default=0)


def list_offline_runs(names: Sequence[str]) -> list[OfflineRun]:
    """The W&B runs of run folders, each once: of two copies the one with more rows.

    Without names: the offline runs of all run folders below runs/. Raises InputError if there is none.
    """
    if names:
        runs = [run for name in names for run in _read_runs(open_run(name))]
    else:
        folders = sorted({files.parents[1] for files in Path("runs").rglob("wandb/offline-run-*")})
        runs = [run for folder in folders for run in _read_runs_if_whole(folder) if run.files.name.startswith("offline-")]
    if not runs:
        where = ", ".join(names) or "runs"
        raise InputError(Problem(where, "there is no W&B run to upload", "train with logger=wandb"))
    largest = {run.run_id: run for run in sorted(runs, key=lambda run: run.rows)}
    return [run for run in runs if largest[run.run_id] is run]


def _read_runs(folder: RunFolder) -> list[OfflineRun]:
    """The W&B runs of a run folder. Raises InputError if the record of its uploads is damaged."""
    return [OfflineRun.read(folder, files) for files in list_named_runs(folder.path)]


def _read_runs_if_whole(path: Path) -> list[OfflineRun]:
    """The W&B runs of a folder; of one that is no run folder, or is damaged, none, with a line that says why."""
    try:
        RunFolder.open(path)
        return _read_runs(RunFolder(path))
    except InputError as error:
        print(one_line(f"{path}: is left out: {error.problems[0].what}"))
        return []


def upload(runs: Sequence[OfflineRun]) -> int:
    """Upload runs, and print a line for each. Returns 1 if one could not be uploaded, or else 0."""
    client = Path(sys.executable).with_name("wandb")
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_MODE"} | ANONYMOUS
    with tempfile.TemporaryDirectory() as folder:  # for its debug logs, which have paths of this machine
        process = subprocess.run(
            [str(client), "sync", "--include-online", "--include-synced", *(str(run.files.resolve()) for run in runs)],
            env=environment | {"WANDB_DIR": folder},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    for run in runs:
        if run.has_marker:
            run.record()
        state = f"uploaded, {run.describe_rows()}" if run.has_marker else "not uploaded"
        print(one_line(f"{run.folder.path}: {state}"))
    if all(run.has_marker for run in runs):
        return 0
    for line in process.stderr.splitlines() + process.stdout.splitlines():
        print(one_line(line), file=sys.stderr)
    return 1


def _count_rows(file: Path) -> int:
    """The number of whole lines below the header of metrics.csv."""
    return max(0, file.read_bytes().count(b"\n") - 1) if file.is_file() else 0


def _read_record(file: Path) -> dict[str, int]:
    """The number of uploaded rows of each W&B run. Raises InputError if the file is damaged."""
    content = safe_io.read_json(file) if file.is_file() else {}
    return {run_id: rows for run_id, rows in content.items() if isinstance(rows, int)}
