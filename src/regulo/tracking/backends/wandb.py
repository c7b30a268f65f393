"""W&B runs: what is logged, what is kept private, and how a resumed run goes on."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import WandbLogger

from regulo.tracking.backends.base import Backend, RowLogger, RunInfo, closing
from regulo.tracking.csv_logger import CSVLogger
from regulo.tracking.servers import check_wandb_server, check_wandb_variables
from regulo.tracking.wandb_files import STEP, find_run_id, list_named_runs, remove_local_paths

START_TIMEOUT, FINISH_TIMEOUT = 30.0, 60.0
"""seconds that a run waits for the W&B server at its start and at its end; in between it never waits"""
SUMMARIES = {"train/grad_norm": "max", "train/images_per_second": "mean"}
"""what the summary has of a curve in place of its last value"""
MAX_TITLE, MAX_TAG = 128, 64
"""letters that W&B takes"""


class Wandb(Backend):
    """Logs to W&B: offline into the run folder, or online to a server."""

    package = "wandb"

    def preflight(self, mode: str) -> None:
        """Check variables of the environment; for an online run also API key and server. Raises InputError."""
        check_wandb_variables()
        if mode == "online":
            check_wandb_server("logger.wandb", "or use logger=wandb, which needs neither account nor network")

    @contextmanager
    def open_logger(self, info: RunInfo, metrics: CSVLogger) -> Iterator["ResumableWandbLogger"]:
        """Context with the logger of the W&B run of a run folder, a new one or the existing one."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        labels = {"project": info.project, "entity": info.entity, "group": info.group, "name": info.title[:MAX_TITLE]}
        tags = [tag[:MAX_TAG] for tag in info.tags]
        with remove_local_paths(info.folder / "wandb"):
            run = start_run(info.folder, info.mode, config=dict(info.config), tags=tags, **labels)
            logger = ResumableWandbLogger(run, info.alerts)
            with closing(logger, logger.finish_run):
                logger.replay(metrics, info.folder / "figures")
                yield logger


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
        program="regulo",  # otherwise its path
        host="",
        email=None,
        username=None,
    )


def start_run(folder: Path, mode: str, **options: Any) -> Any:
    """Start the W&B run of a run folder, a new one or the existing one. The next row that it takes is number `run.step`."""
    options |= {"dir": folder, "mode": mode, "settings": wandb_settings(mode == "offline")}
    run_id = find_run_id(folder)
    if run_id is None:
        return _start_new(options)
    return _restart_offline(folder, run_id, options) if mode == "offline" else _resume_online(run_id, options)


def _start_new(options: dict[str, Any]) -> Any:
    import wandb

    return wandb.init(**options)


def _restart_offline(folder: Path, run_id: str, options: dict[str, Any]) -> Any:
    """The same run again from its first row: nothing can be appended to an offline file, so a new one replaces it."""
    import wandb

    for old_run in list_named_runs(folder):
        shutil.rmtree(old_run)
    return wandb.init(id=run_id, **options)


def _resume_online(run_id: str, options: dict[str, Any]) -> Any:
    """The same run, after the rows that the server already has (none, if the run was offline before)."""
    import wandb

    return wandb.init(id=run_id, resume="allow", **options)


class ResumableWandbLogger(RowLogger, WandbLogger):
    """A row's number is its W&B step. Everything is drawn against optimizer steps; `epoch` and `time` are columns."""

    loss_message: ClassVar[str] = "the W&B process has ended"

    def __init__(self, run: Any, alerts: bool = False) -> None:
        super().__init__(experiment=run)
        self.logged_rows = int(run.step)
        self.alerts = alerts
        self.ending = ""
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        for name, extreme in SUMMARIES.items():
            run.define_metric(name, step_metric=STEP, step_sync=True, summary=extreme)

    def log_row(self, metrics: Mapping[str, float], step: int) -> None:
        """Log a row under its number."""
        self.experiment.log({**metrics, STEP: step}, step=self.rows, commit=True)  # now: the summary may be set after it

    def log_figure(self, name: str, path: Path) -> None:
        """Log an image file with the next row."""
        import wandb

        self.experiment.log({name: [wandb.Image(str(path))]}, step=max(self.rows, self.logged_rows))

    def log_result(self, result: Mapping[str, Any]) -> None:
        """Let the summary have what result.json has."""
        self.experiment.summary.update(dict(result))
        self.ending = f"test/acc {result['test/acc']:.4f}, gap/acc {result['gap/acc']:+.4f}"

    def log_model(self, path: Path) -> None:
        """Log the checkpoint as an artifact. The file is not copied."""
        import wandb

        artifact = wandb.Artifact(f"model-{self.experiment.id}", type="model")
        artifact.add_file(str(path), policy="immutable")
        self.experiment.log_artifact(artifact, aliases=["best"])

    def abandon(self) -> None:
        """End W&B's client: otherwise Python does at exit, and prints an error."""
        import wandb

        with suppress(OSError):
            wandb.teardown()

    def finish_run(self, error: type[BaseException] | None) -> None:
        """Finish the W&B run, with an alert if asked for. Of an error only the type is sent: its text may have local paths."""
        if self.alerts and error:
            self.experiment.alert(f"{self.experiment.name}: stopped", error.__name__, level="ERROR")
        elif self.alerts:
            self.experiment.alert(f"{self.experiment.name}: done", self.ending)
        self.experiment.finish(exit_code=int(error is not None))
