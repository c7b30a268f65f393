"""The run folder: everything about one run; each run has its own."""

import datetime
import errno
import fcntl
import json
import os
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from regulo.core import safe_io
from regulo.core.errors import InputError, NonFiniteLossError, Problem, is_printable
from regulo.core.files import PART, atomic_write, file_lock
from regulo.core.paths import PathStr, expand_home, expand_path
from regulo.tracking.upgrade import upgrade_config

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
"""names of checkpoints: from which the run can go on, the one before it, and the best epoch by the monitor"""
SPLITS = ("train_clean", "val", "test")
"""the splits on which a run is evaluated"""
CONFIG, LOCK = "config.yaml", ".lock"
PINNED = "pinned"
"""the file that marks a run which `regulo runs rm` refuses to remove"""
LOCK_GRACE_SECONDS = 10.0
"""how long loader processes of a killed run may still hold its lock"""
MAX_PATH_BYTES = 4096 - 256
"""bytes of a run folder's path, so that the paths of its files stay within the system's limit (4096)"""

NAME_ANOTHER = "a run shares its folder with no other; name a new one"


MAX_DEPTH = 4
"""levels of folders below runs/ in which runs lie: `<run>`, `studies/<name>/<run>`, `claims/quick/runs/<run>`"""


def list_runs() -> list[Path]:
    """The run folders directly below runs/, newest first: by the time at which training was last started."""
    files = [file for file in Path("runs").glob(f"*/{CONFIG}") if not file.parent.name.startswith(".")]
    files.sort(key=lambda file: (file.stat().st_mtime, file), reverse=True)
    return [file.parent for file in files]


def recent_runs() -> str:
    """A hint with the newest runs."""
    recent = ", ".join(run.as_posix() for run in list_runs()[:3])
    return f"recent runs: {recent}" if recent else "make train makes one"


def walk_runs(root: Path, depth: int = 1) -> Iterator[Path]:
    """All run folders below a folder, also those of studies and claims, and folders that cannot be read.

    A link is followed to a run, and not to a folder of runs.
    """
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return
    for folder in map(Path, folders):
        if os.path.lexists(folder / CONFIG) or not os.access(folder, os.R_OK | os.X_OK):
            yield folder
        elif depth < MAX_DEPTH and not folder.is_symlink():
            yield from walk_runs(folder, depth + 1)


class RunFolder:
    """The folder of one run: `config.yaml`, `plan.json`, `metrics.csv`, `result.json`, `checkpoints/`, `figures/`, `wandb/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"

    @staticmethod
    def check_available(run_dir: str | PathStr | None) -> None:
        """Raise InputError if the requested folder (default: runs/) is in use, or cannot be made or written to."""
        path = expand_home(str(run_dir or "runs"), "run_dir").absolute()
        try:
            exists = _path_exists(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            text = str(path) if len(str(path)) < 80 else f"{str(path)[:60]}… ({len(str(path))} characters)"
            raise InputError(Problem("run_dir", f"{text!r} cannot be a folder: {reason}", "name another one")) from error
        if exists and run_dir and not _is_unused(path):
            raise InputError(Problem("run_dir", f"{run_dir} is not an empty folder", NAME_ANOTHER))
        nearest = next(p for p in (path, *path.parents) if p.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(Problem("run_dir", f"{nearest} cannot be written to", "name a folder that can"))

    @classmethod
    def create(cls, run_dir: str | PathStr | None, name: str) -> "RunFolder":
        """Make the requested folder, which must be empty or absent, or runs/<date>-<time>-<name>. Raises InputError."""
        default = Path("runs") / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{name}"
        alternatives = [default.with_name(f"{default.name}-{i}") for i in range(2, 100)]
        candidates = [expand_path(run_dir)] if run_dir else [default, *alternatives]
        for path in candidates:
            try:
                path.mkdir(parents=True, exist_ok=run_dir is not None)
                if _is_unused(path):
                    return cls(path.resolve())
            except FileExistsError:
                continue
            except OSError as error:
                raise InputError(Problem("run_dir", f"cannot make {path}: {error.strerror}")) from error
        raise InputError(Problem("run_dir", f"{candidates[0]} is not empty", NAME_ANOTHER))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """The folder of an existing run. Raises InputError if it is not one, or if a link in it leads out of it."""
        folder = expand_path(os.fspath(path))
        if not (folder / CONFIG).is_file():
            raise InputError(Problem("RUN", f"{folder} is not a run folder: it has no config.yaml", recent_runs()))
        safe_io.check_folder(folder, "checkpoints", "figures", "evaluations", "export", "wandb", "tensorboard")
        return cls(folder.resolve())

    def claim(self) -> None:
        """Once the folder of a new run is locked: check that no other process has begun a run in it. Raises InputError."""
        if not _is_unused(self.path):
            raise InputError(Problem("run_dir", f"{self.path} is not empty", NAME_ANOTHER))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Context in which no other process writes to this run. Raises InputError if one does."""
        with ExitStack() as stack:
            deadline = time.monotonic() + LOCK_GRACE_SECONDS
            while True:
                try:
                    stack.enter_context(file_lock(self.path / LOCK, wait=False))
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        what = f"{self.path} is being trained by another process"
                        raise InputError(Problem("RUN", what, "wait until that ends, or stop it")) from None
                time.sleep(0.1)
            yield

    def is_locked(self) -> bool:
        """Whether a process is training this run now."""
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDONLY | os.O_NONBLOCK)  # without it, opening a pipe waits
            with open(descriptor, "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:  # another process holds it, or the file system has no locks
            return True
        return False

    def is_pinned(self) -> bool:
        """Whether the run is marked, so that it is not removed."""
        return (self.path / PINNED).is_file()

    def resume_hint(self, fixable: bool = True) -> str:
        """How to go on, if the cause can be fixed: after that; empty if the run has no checkpoint yet."""
        condition = "when that is fixed, " if fixable else ""
        return f"{condition}go on with: {self.resume_command()}" if self.has_checkpoint() else ""

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint from which the run can go on."""
        return any((self.checkpoints / name).is_file() for name in (LAST, PREVIOUS))

    def can_resume(self, result: Mapping[str, Any]) -> bool:
        """Whether a run with this result.json can go on: it has a checkpoint, is not finished, and has not diverged."""
        is_final = result.get("status") == "done" or result.get("error_type") == NonFiniteLossError.__name__
        return self.has_checkpoint() and not is_final

    def resume_command(self) -> str:
        """The command that resumes the run."""
        return f"regulo train --resume {shlex.quote(str(self.path))}"

    def save_config(self, config: Mapping[str, Any]) -> None:
        """Write config.yaml: all settings, with defaults and with the choices of autotune."""
        atomic_write(self.path / CONFIG, safe_io.dump_yaml(dict(config)))

    def read_config(self) -> dict[str, Any]:
        """What `save_config` saved. Raises InputError if it is no longer that."""
        content = safe_io.read_yaml(self.path / CONFIG)
        if not isinstance(content, dict):
            raise InputError(Problem("RUN", f"{self.path / 'config.yaml'} is not a run's configuration"))
        return upgrade_config(content)

    def save_json(self, name: str, content: Any) -> None:
        """Write a JSON file into the folder."""
        text = json.dumps(content, indent=1, ensure_ascii=False)
        if any("\ud800" <= letter <= "\udfff" for letter in text):  # from file names that are not UTF-8
            text = json.dumps(content, indent=1)
        atomic_write(self.path / name, text + "\n")


def _is_unused(path: Path) -> bool:
    """Whether it is a folder in which nothing lies but what a run leaves that is killed before it has written config.yaml."""
    return path.is_dir() and all(
        entry.name in (LOCK, CONFIG + PART) or (entry.name == "figures" and entry.is_dir() and not any(entry.iterdir()))
        for entry in path.iterdir()
    )


def _path_exists(path: Path) -> bool:
    """Whether something is at this path. Raises ValueError or OSError if no folder of this name can be made."""
    if not is_printable(str(path)):
        raise ValueError("it has characters that cannot be shown")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True
