"""The run folder: everything about one run, in one place that no other run shares."""

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

import yaml

from regulo.core import safe_io
from regulo.core.errors import InputError, Problem, is_printable
from regulo.core.files import atomic_write, file_lock
from regulo.core.paths import expand_path
from regulo.tracking.upgrade import upgrade_config

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
"""where the run can go on, the one before that, and the best epoch by the monitor"""
SPLITS = ("train_clean", "val", "test")
"""what a run is scored on"""
LOCK_GRACE_SECONDS = 10.0
"""seconds that loader processes of a killed run may still have its lock"""
MAX_PATH_BYTES = 4096 - 256
"""bytes of a run folder's path, so that those of its files stay within what the system takes"""


def list_runs() -> list[Path]:
    """The folders below runs/ that hold a run, newest first: by the time at which training was last started."""
    files = sorted(Path("runs").glob("*/config.yaml"), key=lambda file: (file.stat().st_mtime, file), reverse=True)
    return [file.parent for file in files]


class RunFolder:
    """`config.yaml`, `plan.json`, `metrics.csv`, `result.json`, `checkpoints/`, `figures/`, `wandb/`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"

    @staticmethod
    def check_available(wanted: str | None) -> None:
        """Raise InputError if the wanted folder is taken or cannot be written to, before anything is spent on the run."""
        path = Path(os.path.expanduser(wanted or "runs")).absolute()
        try:
            if not is_printable(str(path)):
                raise ValueError("it is no readable text")
            if len(os.fsencode(path)) > MAX_PATH_BYTES:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            os.stat(path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            shown = str(path) if len(str(path)) < 80 else f"{str(path)[:60]}… ({len(str(path))} characters)"
            raise InputError(Problem("run_dir", f"{shown!r} cannot be a folder: {reason}", "name another one")) from error
        else:
            if wanted and (not path.is_dir() or any(path.iterdir())):
                hint = "a run shares its folder with no other; name a new one"
                raise InputError(Problem("run_dir", f"{wanted} is not an empty folder", hint))
        nearest = next(p for p in (path, *path.parents) if p.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise InputError(Problem("run_dir", f"{nearest} cannot be written to", "name a folder that can"))

    @classmethod
    def create(cls, wanted: str | None, name: str) -> "RunFolder":
        """A new folder: the wanted one, which must be empty or absent, or runs/<date>-<time>-<name>."""
        stem = Path("runs") / f"{datetime.datetime.now():%Y-%m-%d-%H%M%S}-{name}"
        candidates = [expand_path(wanted)] if wanted else [stem, *(stem.with_name(f"{stem.name}-{i}") for i in range(2, 100))]
        for path in candidates:
            try:
                path.mkdir(parents=True, exist_ok=wanted is not None)
                if not any(path.iterdir()):
                    (path / "figures").mkdir()
                    return cls(path.resolve())
            except FileExistsError:
                continue
            except OSError as error:
                raise InputError(Problem("run_dir", f"cannot make {path}: {error.strerror}")) from error
        raise InputError(
            Problem("run_dir", f"{candidates[0]} is not empty", "a run shares its folder with no other; name a new one")
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """The folder of a run that trained. Raises InputError if it is not one, or if something in it leads out of it."""
        folder = expand_path(os.fspath(path))
        if not (folder / "config.yaml").is_file():
            recent = ", ".join(run.as_posix() for run in list_runs()[:3])
            hint = f"recent runs: {recent}" if recent else "make train makes one"
            raise InputError(Problem("RUN", f"{folder} is not a run folder: it has no config.yaml", hint))
        safe_io.check_folder(folder, "checkpoints", "figures", "wandb")
        return cls(folder.resolve())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Within: no other process writes to this run. Raises InputError if one does."""
        with ExitStack() as stack:
            end = time.monotonic() + LOCK_GRACE_SECONDS
            while True:
                try:
                    stack.enter_context(file_lock(self.path / ".lock", wait=False))
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        what = f"{self.path} is being trained by another process"
                        raise InputError(Problem("RUN", what, "wait until that ends, or stop it")) from None
                time.sleep(0.1)
            yield

    def is_locked(self) -> bool:
        """Whether a process trains this run now."""
        try:
            with (self.path / ".lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:  # somebody has it, or this disk knows no locks
            return True
        return False

    def resume_hint(self) -> str:
        """What to type once that is mended which has ended the run; empty if it has no checkpoint yet."""
        kept = any((self.checkpoints / name).is_file() for name in (LAST, PREVIOUS))
        return f"when that is mended, go on with: {self.resume_command()}" if kept else ""

    def resume_command(self) -> str:
        """The command that goes on with the run."""
        return f"regulo train --resume {shlex.quote(str(self.path))}"

    def save_config(self, config: Mapping[str, Any]) -> None:
        """config.yaml: everything that was chosen, defaults and measured choices included."""
        atomic_write(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def read_config(self) -> dict[str, Any]:
        """What `save_config` saved. Raises InputError if it is no longer that."""
        content = safe_io.read_yaml(self.path / "config.yaml")
        if not isinstance(content, dict):
            raise InputError(Problem("RUN", f"{self.path / 'config.yaml'} is not a run's configuration"))
        return upgrade_config(content)

    def save_json(self, name: str, content: Any) -> None:
        """A JSON file in the folder."""
        atomic_write(self.path / name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
