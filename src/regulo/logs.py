"""Loggers: metrics.csv always; W&B offline unless asked otherwise."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from regulo.errors import Problem, Refused
from regulo.spec import Strict

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class LoggerSpec(Strict):
    """Where metrics go besides metrics.csv, which every run has."""

    wandb: Literal["offline", "online", "off"] = "offline"
    """offline: into the run folder, no account and no network (`make dashboard` shows it); online: to a W&B server"""
    project: str = "regulo"
    """W&B project"""
    entity: str | None = None
    """W&B user or team; null: the account's default"""
    group: str | None = None
    """W&B group of runs"""
    tags: list[str] = []
    """W&B tags"""

    def preflight(self) -> None:
        """Refuse, in one line that says what to do, when an online run cannot reach its server. Raises Refused."""
        if self.wandb != "online":
            return
        import wandb
        from wandb.sdk.lib import apikey

        settings = wandb.Settings()
        offline = "or use logger=wandb, which needs neither account nor network"
        if not (os.environ.get("WANDB_API_KEY") or apikey.api_key(settings=settings)):
            what = "W&B has no API key for you"
            raise Refused(Problem("logger.wandb", what, f".venv/bin/wandb login, or set WANDB_API_KEY; {offline}"))
        host, port = _address(settings.base_url)
        try:
            socket.create_connection((host, port), timeout=3).close()
        except OSError as error:
            raise Refused(Problem("logger.wandb", f"the W&B server {host}:{port} does not answer: {error}", offline)) from error

    def build(self, folder: Path, config: Mapping[str, Any]) -> "list[Logger]":
        """The loggers, opened. Only the first process of a run has any."""
        from lightning.pytorch.loggers import CSVLogger, WandbLogger

        loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
        if self.wandb != "off":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            import wandb

            run = wandb.init(
                project=self.project,
                entity=self.entity,
                group=self.group,
                tags=self.tags,
                name=folder.name,
                dir=folder,
                mode=self.wandb,
                config=dict(config),
                settings=wandb.Settings(silent=self.wandb == "offline", console="off"),
            )
            loggers.append(WandbLogger(experiment=run))
        return loggers


def _address(base_url: str) -> tuple[str, int]:
    from urllib.parse import urlsplit

    parts = urlsplit(base_url)
    return parts.hostname or "localhost", parts.port or (443 if parts.scheme == "https" else 80)


def publisher(loggers: "Sequence[Logger]") -> Callable[[str, Path], None]:
    """Shows an image file on every dashboard that can."""
    from lightning.pytorch.loggers import WandbLogger

    def publish(name: str, path: Path) -> None:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)])

    return publish
