"""What goes to W&B, and what does not."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from regulo.tracking.csv_logger import CSVLogger

START_TIMEOUT, FINISH_TIMEOUT = 30.0, 60.0
"""seconds that a run waits for W&B's server at its beginning and at its end; in between it never waits"""


def wandb_settings(offline: bool) -> Any:
    """With which a W&B run says nothing of who made it where, and a run ends although its server does not answer."""
    import wandb

    return wandb.Settings(
        silent=offline,
        console="off",
        init_timeout=START_TIMEOUT,
        finish_timeout=FINISH_TIMEOUT,
        x_disable_meta=True,  # else the .wandb file holds command line, folders, host and user, the git remote and its commit
        x_disable_machine_info=True,
        disable_git=True,
        disable_code=True,
        email=None,
        username=None,
    )


@contextmanager
def remove_local_paths(folder: Path) -> Iterator[None]:
    """Afterwards, W&B's debug logs below the folder are gone: they name the folders of this machine, and link to one of them."""
    try:
        yield
    finally:
        with suppress(OSError):
            for link in folder.glob("debug*.log"):
                link.unlink()
        for run in _runs(folder):
            shutil.rmtree(run / "logs", ignore_errors=True)


def _runs(folder: Path) -> list[Path]:
    """W&B's folders; no link, behind which there may be anything."""
    return sorted(run for run in folder.glob("*run-*") if run.is_dir() and not run.is_symlink())


def start_run(folder: Path, mode: str, **options: Any) -> Any:
    """The W&B run of a run folder: a new one, or the one that it has already. It logs the rows from `run.step` on."""
    options |= {"dir": folder, "mode": mode, "settings": wandb_settings(mode == "offline")}
    run_id = find_run_id(folder)
    if run_id is None:
        return _start_new(options)
    return _restart_offline(folder, run_id, options) if mode == "offline" else _resume_online(run_id, options)


def find_run_id(folder: Path) -> str | None:
    """The id of the W&B run whose files lie in a run folder."""
    files = _files(folder)
    return files[-1].name.rpartition("-")[2] if files else None


def _files(folder: Path) -> list[Path]:
    return [run for run in _runs(folder / "wandb") if run.name.count("-") >= 2]  # [offline-]run-<time>-<id>


def _start_new(options: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(**options)


def _restart_offline(folder: Path, run_id: str, options: dict[str, Any]) -> Any:
    """The same run from its first row: an offline file cannot be appended to, so it is replaced by a whole one."""
    import wandb

    for files in _files(folder):
        shutil.rmtree(files)
    return wandb.init(id=run_id, **options)


def _resume_online(run_id: str, options: dict[str, Any]) -> Any:
    """The same run from the row that the server lacks (it may not know the run at all, if that was offline before)."""
    import wandb

    return wandb.init(id=run_id, resume="allow", **options)


class ResumableWandbLogger(WandbLogger):
    """The rows of metrics.csv, each under its own number as W&B's step, so that none is missing or logged twice.

    W&B may have fewer rows than metrics.csv (a process that is killed loses what was not yet written or sent): it gets them from
    there. It may have more (metrics.csv is cut back to the checkpoint from which the run goes on): these are not logged again.
    """

    def __init__(self, run: Any, metrics: CSVLogger) -> None:
        super().__init__(experiment=run)
        self.rows = 0  # counted so far
        self.rows_at_wandb = int(run.step)
        self.alive = True
        for row in metrics.read_rows():
            self.log_metrics({k: float(v) for k, v in row.items() if v and k != "step"}, int(row["step"]))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row, unless W&B has it."""
        if self.rows >= self.rows_at_wandb:
            self._ask(self.experiment.log, {**metrics, "trainer/global_step": step}, step=self.rows)
        self.rows += 1

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Beside the next row."""
        import wandb

        self._ask(self.experiment.log, {key: [wandb.Image(image) for image in images]}, step=max(self.rows, self.rows_at_wandb))

    @contextmanager
    def finish_run(self) -> Iterator["ResumableWandbLogger"]:
        """Within: a run of W&B's, which is told whether it succeeded."""
        code = 1
        try:
            yield self
            code = 0
        finally:
            self._ask(self.experiment.finish, exit_code=code)

    def _ask(self, act: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """W&B's own process may die, as when memory runs out; metrics.csv has every row all the same."""
        import wandb

        if self.alive:
            try:
                act(*args, **kwargs)
            except OSError as error:
                self.alive = False
                print(f"regulo: W&B has gone ({error}); the run goes on without it", file=sys.stderr)
                with suppress(OSError):
                    wandb.teardown()  # or Python tries it at its exit, and complains
