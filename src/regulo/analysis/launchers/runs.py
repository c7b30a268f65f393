"""Runs that are planned together: the state of each, how it is made, and how it goes on after it was stopped."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from regulo.config import compose
from regulo.config.overrides import format_value
from regulo.core.errors import InputError, NonFiniteLossError, Problem
from regulo.core.files import file_lock
from regulo.tracking import records
from regulo.tracking.run_dir import LAST, RunFolder

State = Literal["done", "failed", "unmeasured", "open"]
PERMANENT_ERROR = NonFiniteLossError.__name__
"""the error of a run that would fail the same way again: its loss was not finite"""
DEFAULTS = {"logger": "logger=csv", "callbacks": "callbacks=none"}
"""overrides of all runs, unless the user sets the key"""


@dataclass(frozen=True)
class PlannedRun:
    """A run, and perhaps what is measured on it afterwards. Its folder lies beside those of the others."""

    folder: Path
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def condition(self) -> str | None:
        """What the run is compared by with the others, as the progress shows it; None: it is not compared."""
        return None

    def result(self) -> dict[str, Any]:
        """The content of result.json, as far as it is there and whole."""
        return records.read_or_empty(records.read_result, RunFolder(self.folder))

    def is_measured(self) -> bool:
        """Whether the finished run has been measured; also if there is nothing to measure."""
        return True

    def measure(self) -> None:
        """Measure the finished run, and save the result in its folder."""
        raise NotImplementedError

    def state(self) -> State:
        """done; failed for good; trained and not measured; or open: to be run, even if an earlier attempt has left a folder."""
        result = self.result()
        if result.get("status") == "failed" and result.get("error_type") == PERMANENT_ERROR:
            return "failed"
        if result.get("status") != "done":
            return "open"
        return "done" if self.is_measured() else "unmeasured"

    def record(self, errors: Mapping[str, str]) -> dict[str, Any]:
        """How the run ended, for a file of results. errors: those of this start, by name.

        A run that failed in an earlier start and has not been tried again has its error in its folder.
        """
        status, error = "done", ""
        if self.state() != "done":
            result = self.result()
            is_failed = self.name in errors or result.get("status") == "failed"
            status = "failed" if is_failed else "missing"
            error = errors.get(self.name) or str(result.get("error", "")) if is_failed else ""
        return {"folder": self.name, "status": status, "error": error}


def override_key(override: str) -> str:
    """The key that an override sets, adds to or removes."""
    return override.lstrip("+~").partition("=")[0]


def with_defaults(overrides: Sequence[str]) -> list[str]:
    """The overrides after the defaults of runs that are planned together."""
    keys = {override_key(override) for override in overrides}
    return [*(override for key, override in DEFAULTS.items() if key not in keys), *overrides]


@contextmanager
def only_one_process(root: Path, command: str) -> Iterator[None]:
    """Within: no other process runs what is in `root`. Raises InputError if one does."""
    try:
        with file_lock(root / ".lock", wait=False):
            yield
    except BlockingIOError as error:
        raise InputError(Problem(command, f"another process is running what is in {root}")) from error


def make_run(run: PlannedRun) -> None:
    """Train and measure a run, as far as that is not done yet. Raises what `regulo train` raises."""
    from regulo.analysis.shared_settings import pinned_overrides, same_data_arguments
    from regulo.core.warnings import ignore_harmless_warnings
    from regulo.training.train import train

    ignore_harmless_warnings()
    root = run.folder.parent
    with file_lock(root / "locks" / run.name):  # a cluster may still run it for an earlier start
        if run.state() == "open" and (run.folder / "checkpoints" / LAST).is_file():
            train(["--resume", str(run.folder)])
        elif run.state() == "open":
            shutil.rmtree(run.folder, ignore_errors=True)
            folder = str(run.folder).replace("\\", "\\\\").replace("'", "\\'")
            config = compose.load_config(run.overrides)
            shared = [*pinned_overrides(config, root), *same_data_arguments(config.data, root)]
            group = [] if config.logger.resolve().group else [f"logger.group={format_value(root.name)}"]
            train([*run.overrides, *shared, *group, f"run_dir='{folder}'"])
        if run.state() == "unmeasured":
            run.measure()
