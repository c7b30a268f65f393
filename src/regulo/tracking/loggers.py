"""Loggers: metrics.csv always; W&B offline by default."""

import http.client
import netrc
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from regulo.core.errors import InputError, Problem
from regulo.core.registry import StrictConfig

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


class LoggerConfig(StrictConfig):
    """Where metrics are logged besides metrics.csv, which every run writes."""

    wandb: Literal["offline", "online", "disabled"] = "offline"
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
        """Raise InputError, with what to do, if an online run has no API key or cannot reach its server."""
        if self.wandb != "online":
            return
        import wandb

        offline = "or use logger=wandb, which needs neither account nor network"
        server = os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url
        address = re.sub("//[^/@]*@", "//", server)  # without user and password
        try:
            host = urllib.parse.urlsplit(server).hostname or ""
        except ValueError as error:
            raise InputError(
                Problem("logger.wandb", f"the W&B server {address} is no valid address: {error}", offline)
            ) from error
        if not (os.environ.get("WANDB_API_KEY") or _has_netrc_key(host)):
            what = f"there is no API key for the W&B server {address}"
            raise InputError(Problem("logger.wandb", what, f".venv/bin/wandb login, or set WANDB_API_KEY; {offline}"))
        try:
            urllib.request.urlopen(server, timeout=4).close()  # through the proxy, if the environment names one
        except urllib.error.HTTPError:
            pass  # the server responds
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise InputError(Problem("logger.wandb", f"the W&B server {address} does not answer: {error}", offline)) from error

    @contextmanager
    def open_loggers(self, folder: Path, config: Mapping[str, Any], rows: int | None = None) -> "Iterator[list[Logger]]":
        """Context with the open loggers. Only the first process of a run has loggers.

        A resumed run keeps the first `rows` rows of its metrics.csv, and stays the same W&B run.
        """
        from regulo.tracking.csv_logger import CSVLogger
        from regulo.tracking.wandb_logger import ResumableWandbLogger, remove_local_paths, start_run

        csv = CSVLogger(folder / "metrics.csv")
        if rows is not None:
            csv.truncate(rows)
        if self.wandb == "disabled":
            yield [csv]
        else:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            labels = {"project": self.project, "entity": self.entity, "group": self.group, "tags": self.tags}
            with remove_local_paths(folder / "wandb"):
                run = start_run(folder, self.wandb, name=folder.name, config=dict(config), **labels)
                with ResumableWandbLogger(run, csv).finish_run() as wandb_logger:
                    for figure in sorted((folder / "figures").glob("*.png")):
                        wandb_logger.log_image(figure.stem, [str(figure)])
                    yield [csv, wandb_logger]


def _has_netrc_key(host: str) -> bool:
    """Whether `wandb login` has saved a key for this host."""
    names = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    files = [Path(os.path.expanduser(name)) for name in names]
    try:
        return any(netrc.netrc(file).authenticators(host) for file in files if file.is_file())
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError):
        return False


def image_publisher(loggers: "Sequence[Logger]") -> Callable[[str, Path], None]:
    """A function (name, path) that logs an image file to every logger that takes images."""
    from lightning.pytorch.loggers import WandbLogger

    def publish(name: str, path: Path) -> None:
        for logger in loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [str(path)])

    return publish
