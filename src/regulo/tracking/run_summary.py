"""One line about each run: how far it is, what it was, and its scores. Reads 2,000 runs in a second, and trusts no file.

What has been read is kept in `runs/.index.json`, so that a list of runs reads only the files that have changed since.
"""

import csv
import dataclasses
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from regulo.core import safe_io
from regulo.core.errors import InputError, one_line, shorten
from regulo.core.files import atomic_write
from regulo.tracking.run_dir import CONFIG, RunFolder, walk_runs

STUDY_FOLDERS = ("studies", "crossval", "tune")
"""folders of the root whose folders are studies: runs that belong together"""
INDEX = ".index.json"
INDEX_VERSION = 1
"""another number, and the index of an older version is made again"""
SUMMARY_FILES = (CONFIG, "result.json", "plan.json")
"""the files that a summary is made from, if the run is not going on"""
LIMIT = 1 << 20
"""bytes of a file that is read for a summary; the largest that Regulo writes has 20 KB"""
TAIL = 1 << 16
"""bytes at the end of metrics.csv that are read to see how far a run is"""

RunState = Literal["running", "done", "interrupted", "failed", "crashed", "unreadable"]
"""as in result.json; crashed: it says `running`, and no process trains the run; unreadable: a file is damaged"""


@dataclasses.dataclass(frozen=True)
class RunSummary:
    """What a list of runs shows of one run. None or an empty text: it is not there."""

    path: Path
    """the folder, below the root that was listed"""
    state: RunState
    reason: str = ""
    """why it failed or cannot be read, in one line"""
    can_resume: bool = False
    """whether `regulo train --resume` can go on with it"""
    plan: str = ""
    """its techniques in short: `augment+mixup|cutmix+dropout`; | between those of which one is drawn per batch"""
    strength: float = 1.0
    """what multiplies all strengths of the plan"""
    seed: int | None = None
    study: str = ""
    """what it belongs to: the folder below studies/, crossval/ or tune/, or any other folder with runs; empty: it stands alone"""
    data: str = ""
    """name of the data set"""
    model: str = ""
    """name of the model"""
    started: float = 0.0
    """when training was last started, in seconds since 1970"""
    seconds: float | None = None
    """seconds of training; of a run that is not done: from the last start to the last logged row"""
    seconds_left: float | None = None
    """seconds until a running run is done, if it uses all epochs; None before its first epoch has ended"""
    epochs: float | None = None
    """epochs that are done"""
    max_epochs: int | None = None
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    """all numbers of result.json, by key; they may be infinite or NaN"""
    size: int = 0
    """bytes of all files"""
    pinned: bool = False
    """whether `regulo runs rm` refuses to remove it"""

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    @property
    def resume_command(self) -> str | None:
        """The command that goes on with the run; None if none can."""
        return RunFolder(self.path).resume_command() if self.can_resume else None


def summarize_runs(root: Path = Path("runs")) -> list[RunSummary]:
    """All runs below a folder, also those of studies and claims, newest first. Raises nothing for damaged files."""
    index = _read_index(root / INDEX)
    entries: dict[str, _IndexEntry] = {}
    summaries = []
    for folder in walk_runs(root):
        key = folder.relative_to(root).as_posix()
        signature = _signature(folder)
        entry = index.get(key)
        if entry is None or entry.signature != signature:
            entry = _IndexEntry(signature, dataclasses.replace(summarize_run(folder, root), path=Path(key)))
        if entry.summary.state not in ("running", "crashed", "unreadable"):  # those change without a change of these files
            entries[key] = entry
        summaries.append(dataclasses.replace(entry.summary, path=folder))
    if entries != index:
        _write_index(root / INDEX, entries)
    return sorted(summaries, key=lambda summary: (summary.started, str(summary.path)), reverse=True)


# ---- the folders


def _signature(folder: Path) -> list[int]:
    """Numbers that change when a file of the summary changes, or when one appears or disappears."""
    numbers = []
    for path in (folder, *(folder / name for name in SUMMARY_FILES)):
        try:
            status = os.stat(path)
            numbers += [status.st_mtime_ns, status.st_size]
        except OSError:
            numbers += [0, 0]
    return numbers


def _folder_size(folder: Path) -> int:
    """The bytes of all files below a folder; links count nothing."""
    size = 0
    with suppress(OSError):
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                size += _folder_size(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                size += entry.stat(follow_symlinks=False).st_size
    return size


def _study(folder: Path, root: Path) -> str:
    """The study that a run belongs to, by its place below the root."""
    parts = folder.relative_to(root).parts if folder.is_relative_to(root) else ()
    folders = parts[1:-1] if parts and parts[0] in STUDY_FOLDERS else parts[:-1]
    return folders[0] if folders else ""


# ---- one run


def summarize_run(folder: Path, root: Path) -> RunSummary:
    """The summary of one run, read from its files. Raises nothing for damaged files. `root`: the folder that has all runs."""
    summary = RunSummary(folder, "unreadable", study=_study(folder, root))
    with suppress(OSError):
        summary = dataclasses.replace(
            summary,
            started=(folder / CONFIG).stat().st_mtime,
            size=_folder_size(folder),
            pinned=RunFolder(folder).is_pinned(),
        )
    try:
        return dataclasses.replace(summary, **_read_facts(RunFolder(folder), summary.started))
    except InputError as error:
        return dataclasses.replace(summary, reason=shorten(one_line(error.problems[0].what), 300))
    except (OSError, ValueError, ArithmeticError) as error:
        return dataclasses.replace(summary, reason=shorten(one_line(str(error)), 300))


def _read_facts(folder: RunFolder, started: float) -> dict[str, Any]:
    """Fields of the summary. Raises InputError, OSError or ValueError for damaged files."""
    config = safe_io.read_yaml_values(folder.path / CONFIG, LIMIT)
    if "trainer.max_epochs" not in config:
        raise ValueError(f"{folder.path / CONFIG} is not a run's configuration")
    result = _read_json(folder.path / "result.json")
    state: Any = result.get("status", "running")
    if state not in ("running", "done", "interrupted", "failed"):
        raise ValueError(f"{folder.path / 'result.json'}: the status is {str(state)[:60]!r}")
    if state == "running" and not folder.is_locked():
        state = "crashed"
        result["error"] = "its process was killed, or its machine went down"
    scores = {
        key: float(value) for key, value in result.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    max_epochs = _parse_number(config, "trainer.max_epochs", int)
    facts: dict[str, Any] = {
        "state": state,
        "reason": shorten(one_line(str(result.get("error", ""))), 300),
        "can_resume": state != "running" and folder.can_resume(result),
        "plan": _short_plan(folder.path / "plan.json", config),
        "strength": _parse_number(config, "strength", float) if "strength" in config else 1.0,
        "seed": _parse_number(config, "seed", int) if "seed" in config else None,
        "data": one_line(config.get("data.name", "")),
        "model": one_line(config.get("model.name", "")),
        "max_epochs": max_epochs,
        "scores": scores,
    }
    if state == "done":
        return facts | {"epochs": scores.get("epochs"), "seconds": scores.get("fit_seconds")}
    resumed_at = result.get("resumed_at")
    first_step = resumed_at[-1] if isinstance(resumed_at, list) and resumed_at and isinstance(resumed_at[-1], int) else 0
    facts |= _read_progress(folder.path / "metrics.csv", started, max_epochs, first_step)
    return facts if state == "running" else facts | {"seconds_left": None}


def _parse_number(config: Mapping[str, str], key: str, kind: type[Any]) -> Any:
    try:
        return kind(config[key])
    except ValueError:
        raise ValueError(f"{CONFIG}: {key} is {config[key][:60]!r}") from None


def _read_json(file: Path) -> dict[str, Any]:
    return safe_io.read_json(file, limit=LIMIT) if os.path.lexists(file) else {}


def _short_plan(file: Path, config: Mapping[str, str]) -> str:
    """The techniques of plan.json in short; of config.yaml, if the run was killed before it wrote its plan."""
    rows = _read_json(file).get("regularizers")
    if not isinstance(rows, list):
        return "+".join(key.partition(".")[2] for key in config if key.startswith("regularizer.")) or "none"
    techniques: dict[str, bool] = {}  # whether one of several is drawn per batch
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("technique"), str):
            raise ValueError(f"{file}: the plan has a row without a technique")
        techniques[row["technique"]] = techniques.get(row["technique"], False) or "one per batch" in str(row.get("hook"))
    drawn = "|".join(name for name, is_drawn in techniques.items() if is_drawn)
    names = [drawn if is_drawn else name for name, is_drawn in techniques.items()]
    return one_line("+".join(dict.fromkeys(names))) or "none"


def _read_progress(file: Path, started: float, max_epochs: int, first_step: int) -> dict[str, Any]:
    """How many epochs are done, how many seconds that took, and how many are left, from the end of metrics.csv.

    `first_step`: the step at which the last start went on.
    """
    if not file.is_file():
        return {}
    with file.open("rb") as stream:
        header = stream.readline(TAIL)
        stream.seek(max(len(header), os.fstat(stream.fileno()).st_size - TAIL))
        tail = stream.read(TAIL)
        logged = os.fstat(stream.fileno()).st_mtime
    lines = tail.decode(errors="replace").split("\n")[:-1]  # the last one is empty, or still being written
    keys = next(csv.reader([header.decode(errors="replace")]), [])
    rows = [dict(zip(keys, cells, strict=True)) for cells in csv.reader(lines) if len(cells) == len(keys)]
    steps = [(int(row["epoch"]), int(row["step"]), row.get("val/loss")) for row in rows if row.get("epoch") and row.get("step")]
    facts: dict[str, Any] = {"seconds": max(0.0, logged - started)}
    epoch_ends = [(epoch + 1, step + 1) for epoch, step, val_loss in steps if val_loss]
    if not epoch_ends:
        return facts | {"epochs": float(steps[-1][0]) if steps else 0.0}
    steps_per_epoch = epoch_ends[-1][1] / epoch_ends[-1][0]
    facts["epochs"] = epochs = max(epoch_ends[-1][0], (steps[-1][1] + 1) / steps_per_epoch)
    new_epochs = epochs - first_step / steps_per_epoch
    if new_epochs > 0:
        seconds_left = (max_epochs - epochs) * facts["seconds"] / new_epochs - (time.time() - logged)
        facts["seconds_left"] = max(0.0, seconds_left)
    return facts


# ---- the index


@dataclasses.dataclass(frozen=True)
class _IndexEntry:
    signature: list[int]
    """of the files from which the summary was made"""
    summary: RunSummary
    """its path is relative to the root"""


def _read_index(file: Path) -> dict[str, _IndexEntry]:
    """The index; empty if there is none, or if it is not what this version writes: it is made again."""
    from pydantic import TypeAdapter, ValidationError

    try:
        content = safe_io.read_json(file) if file.is_file() else {}
        if content.get("version") != INDEX_VERSION:
            return {}
        return TypeAdapter(dict[str, _IndexEntry]).validate_python(content.get("runs"))
    except (InputError, ValidationError, OSError):
        return {}


def _write_index(file: Path, entries: Mapping[str, _IndexEntry]) -> None:
    """Write the index, if the folder can be written to."""
    runs = {key: {"signature": entry.signature, "summary": vars(entry.summary)} for key, entry in entries.items()}
    with suppress(OSError, ValueError):
        atomic_write(file, json.dumps({"version": INDEX_VERSION, "runs": runs}, default=str))
