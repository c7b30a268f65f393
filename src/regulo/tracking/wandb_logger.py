"""W&B runs: what is logged, what is kept private, and how a resumed run goes on."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from regulo.tracking.csv_logger import CSVLogger

START_TIMEOUT, FINISH_TIMEOUT = 30.0, 60.0
"""seconds that a run waits for the W&B server at its start and at its end; in between it never waits"""


def wandb_settings(offline: bool) -> Any:
    """Settings for W&B: no data about user and machine are logged, and a run ends even if the server does not respond."""
    import wandb

    return wandb.Settings(
        silent=offline,
        console="off",
        init_timeout=START_TIMEOUT,
        finish_timeout=FINISH_TIMEOUT,
        x_disable_meta=True,  # otherwise the .wandb file has the command line, folders, host, user, git remote and commit
        x_disable_machine_info=True,
        disable_git=True,
        disable_code=True,
        email=None,
        username=None,
    )


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


def start_run(folder: Path, mode: str, **options: Any) -> Any:
    """Start the W&B run of a run folder, a new one or the existing one. The next row that it takes is number `run.step`."""
    options |= {"dir": folder, "mode": mode, "settings": wandb_settings(mode == "offline")}
    run_id = find_run_id(folder)
    if run_id is None:
        return _start_new(options)
    return _restart_offline(folder, run_id, options) if mode == "offline" else _resume_online(run_id, options)


def find_run_id(folder: Path) -> str | None:
    """The id of the W&B run whose files are in a run folder; None if there is none."""
    runs = _list_named_runs(folder)
    return runs[-1].name.rpartition("-")[2] if runs else None


def _list_named_runs(folder: Path) -> list[Path]:
    """W&B's folders [offline-]run-<time>-<id> in a run folder, sorted."""
    return [run for run in _list_run_folders(folder / "wandb") if run.name.count("-") >= 2]


def _start_new(options: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(**options)


def _restart_offline(folder: Path, run_id: str, options: dict[str, Any]) -> Any:
    """The same run again from its first row: nothing can be appended to an offline file, so a new one replaces it."""
    import wandb

    for old_run in _list_named_runs(folder):
        shutil.rmtree(old_run)
    return wandb.init(id=run_id, **options)


def _resume_online(run_id: str, options: dict[str, Any]) -> Any:
    """The same run, after the rows that the server already has (none, if the run was offline before)."""
    import wandb

    return wandb.init(id=run_id, resume="allow", **options)


class ResumableWandbLogger(WandbLogger):
    """Logs the rows of metrics.csv to W&B. A row's number is its W&B step, so that no row is missing or logged twice.

    W&B may have fewer rows than metrics.csv (a killed process loses rows that were not yet written or sent): they are logged from
    the file. It may have more rows (a resumed run cuts metrics.csv back to its checkpoint): these are not logged again.
    """

    def __init__(self, run: Any, metrics: CSVLogger) -> None:
        super().__init__(experiment=run)
        self.rows = 0  # seen so far
        self.rows_at_wandb = int(run.step)
        self.available = True
        for row in metrics.read_rows():
            self.log_metrics({k: float(v) for k, v in row.items() if v and k != "step"}, int(row["step"]))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row, unless W&B already has it."""
        if self.rows >= self.rows_at_wandb:
            self._call_wandb(self.experiment.log, {**metrics, "trainer/global_step": step}, step=self.rows)
        self.rows += 1

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log images with the next row."""
        import wandb

        wandb_images = [wandb.Image(image) for image in images]
        self._call_wandb(self.experiment.log, {key: wandb_images}, step=max(self.rows, self.rows_at_wandb))

    @contextmanager
    def finish_run(self) -> Iterator["ResumableWandbLogger"]:
        """Context that finishes the W&B run at its end, with exit code 0, or 1 after an exception."""
        exit_code = 1
        try:
            yield self
            exit_code = 0
        finally:
            self._call_wandb(self.experiment.finish, exit_code=exit_code)

    def _call_wandb(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call a function of W&B. If W&B's process has died (out of memory, for example), go on without it."""
        import wandb

        if not self.available:
            return
        try:
            function(*args, **kwargs)
        except OSError as error:
            self.available = False
            print(f"regulo: the W&B process has ended ({error}); the run goes on without it", file=sys.stderr)
            with suppress(OSError):
                wandb.teardown()  # otherwise Python calls it at exit, and prints an error
