"""Loggers: metrics.csv always; W&B offline by default; others when asked."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from regulo.core import registry
from regulo.core.errors import InputError, Problem, nearest, one_line
from regulo.core.program import PROGRAM
from regulo.core.registry import StrictConfig

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from regulo.tracking.backends.base import Backend


BACKENDS = "regulo.tracking.backends"


def _check_backend(name: str) -> str:
    """The name of a backend besides W&B, which has a field of its own."""
    names = [n for n in registry.list_modules(BACKENDS) if n != "wandb"]
    if name not in names:
        raise ValueError(f"there is no logger {name!r} — {nearest(name, names)}")
    return name


Name = Annotated[str, Field(min_length=1)]

VARIABLES = {
    "wandb": "WANDB_MODE",
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "group": "WANDB_RUN_GROUP",
    "tags": "WANDB_TAGS",
}
"""the variable of the environment that fills a field of the configuration which is left open"""


class LoggerConfig(StrictConfig):
    """Where metrics are logged besides metrics.csv, which every run writes."""

    wandb: Literal["offline", "online", "disabled"] | None = None
    """offline: into the run folder, no account and no network (`make dashboard` shows it); online: to a W&B server; null:
    WANDB_MODE, or else offline"""
    also: list[Annotated[str, AfterValidator(_check_backend)]] = []
    """other loggers: tensorboard, mlflow"""
    project: Name | None = None
    """W&B project, and MLflow experiment; null: WANDB_PROJECT, or else regulo"""
    entity: Name | None = None
    """W&B user or team; null: WANDB_ENTITY, or else the account's default"""
    group: Name | None = None
    """group of runs; null: WANDB_RUN_GROUP; the runs of a study have its name"""
    tags: list[Name] = []
    """tags besides those of the run's model, data and techniques; none: WANDB_TAGS"""
    artifact: Literal["best"] | None = None
    """best: log the checkpoint of the final weights, too (W&B, MLflow); null: no file of the model leaves the run folder"""
    alerts: bool = False
    """whether W&B sends a message when the run ends or fails"""

    def resolve(self) -> "LoggerConfig":
        """The configuration with what it leaves open filled in from the environment. Raises InputError."""
        fields = {key: getattr(self, key) or _environment_value(key) for key in VARIABLES}
        modes = {"dryrun": "offline", "run": "online"}  # old names
        mode = modes.get(fields["wandb"], fields["wandb"]) or "offline"
        if mode not in ("offline", "online", "disabled"):
            raise InputError(Problem("WANDB_MODE", f"{mode!r} is no mode", "offline, online or disabled"))
        defaults = {"wandb": mode, "project": fields["project"] or PROGRAM, "tags": fields["tags"] or []}
        return self.model_copy(update=fields | defaults)

    def describe_environment(self) -> str:
        """Which variables of the environment W&B's run takes values from, and which not, for people; empty if none is set."""
        resolved = self.resolve()
        parts = []
        for key, variable in VARIABLES.items():
            own, value = getattr(self, key), _environment_value(key)
            if not value or own == value or (resolved.wandb == "disabled" and key != "wandb"):
                continue
            text = ",".join(value) if isinstance(value, list) else value
            parts.append(f"logger.{key} wins over {variable}={text}" if own else f"{variable}={text} is used")
        if resolved.wandb != "disabled" and (name := os.environ.get("WANDB_NAME")):
            parts.append(f"WANDB_NAME={name} is used")
        return one_line(f"W&B: {'; '.join(parts)}") if parts else ""

    def backends(self) -> "list[Backend]":
        """The backends of a resolved configuration."""
        from regulo.tracking.backends.base import Backend

        names = ["wandb"] * (self.wandb != "disabled") + list(dict.fromkeys(self.also))
        return [cls() for name in names for cls in registry.classes_in(f"{BACKENDS}.{name}", Backend)]

    def preflight(self) -> None:
        """Raise InputError, with what to do, if a package, an API key or a server of a logger is missing."""
        resolved = self.resolve()
        for backend in resolved.backends():
            backend.preflight(str(resolved.wandb))

    @contextmanager
    def open_loggers(
        self, folder: Path, title: str, config: Mapping[str, Any], tags: Sequence[str] = (), rows: int | None = None
    ) -> "Iterator[list[Logger]]":
        """Context with the open loggers. Only the first process of a run has loggers.

        title, config, tags: what the loggers show of the run. A resumed run keeps the first `rows` rows of its metrics.csv, and
        goes on in the same curves.
        """
        from regulo.tracking.backends.base import RunInfo
        from regulo.tracking.csv_logger import CSVLogger

        if text := self.describe_environment():
            print(text)
        resolved = self.resolve()
        csv = CSVLogger(folder / "metrics.csv")
        if rows is not None and (missing := csv.truncate(rows)):
            print(f"metrics.csv has lost {missing} of the {rows} rows before the checkpoint; the run goes on without them")
        info = RunInfo(
            folder,
            os.environ.get("WANDB_NAME") or title,
            config,
            tuple(dict.fromkeys((*tags, *resolved.tags))),
            project=str(resolved.project),
            group=resolved.group,
            entity=resolved.entity,
            mode=str(resolved.wandb),
            alerts=resolved.alerts,
        )
        with ExitStack() as stack:
            yield [csv, *(stack.enter_context(backend.open_logger(info, csv)) for backend in resolved.backends())]

    def log_result(self, loggers: "Sequence[Logger]", result: Mapping[str, Any], checkpoint: Path) -> None:
        """Log the final result, and the checkpoint of the final weights if `artifact` asks for it."""
        for logger in _row_loggers(loggers):
            logger.attempt(logger.log_result, result)
            if self.artifact:
                logger.attempt(logger.log_model, checkpoint)


def _environment_value(key: str) -> Any:
    """The value of the environment for a field of the configuration; None if it has none."""
    text = os.environ.get(VARIABLES[key], "").strip()
    words = [word.strip() for word in text.split(",") if word.strip()]
    return (words if key == "tags" else text) or None


def _row_loggers(loggers: "Sequence[Logger]") -> "list[Any]":
    """The loggers of backends, without that of metrics.csv."""
    from regulo.tracking.backends.base import RowLogger

    return [logger for logger in loggers if isinstance(logger, RowLogger)]


def image_publisher(loggers: "Sequence[Logger]") -> Callable[[str, Path], None]:
    """A function (name, path) that logs an image file to every logger that takes images."""

    def publish(name: str, path: Path) -> None:
        for logger in _row_loggers(loggers):
            logger.attempt(logger.log_figure, name, path)

    return publish
