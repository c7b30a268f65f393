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
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from regulo.core.errors import InputError, Problem, one_line
from regulo.core.registry import StrictConfig

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


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
    project: Name | None = None
    """W&B project; null: WANDB_PROJECT, or else regulo"""
    entity: Name | None = None
    """W&B user or team; null: WANDB_ENTITY, or else the account's default"""
    group: Name | None = None
    """W&B group of runs; null: WANDB_RUN_GROUP"""
    tags: list[Name] = []
    """W&B tags; none: WANDB_TAGS"""

    def resolve(self) -> "LoggerConfig":
        """The configuration with what it leaves open filled in from the environment. Raises InputError."""
        fields = {key: getattr(self, key) or _environment_value(key) for key in VARIABLES}
        modes = {"dryrun": "offline", "run": "online"}  # old names
        mode = modes.get(fields["wandb"], fields["wandb"]) or "offline"
        if mode not in ("offline", "online", "disabled"):
            raise InputError(Problem("WANDB_MODE", f"{mode!r} is no mode", "offline, online or disabled"))
        defaults = {"wandb": mode, "project": fields["project"] or "regulo", "tags": fields["tags"] or []}
        return self.model_copy(update=fields | defaults)

    def describe_environment(self) -> str:
        """Which variables of the environment W&B's run takes values from, and which not, for people; empty if none is set."""
        resolved = self.resolve()
        parts = []
        for key, variable in VARIABLES.items():
            own, value = getattr(self, key), _environment_value(key)
            if not value or (resolved.wandb == "disabled" and key != "wandb"):
                continue
            text = ",".join(value) if isinstance(value, list) else value
            parts.append(f"logger.{key} wins over {variable}={text}" if own else f"{variable}={text} is used")
        if resolved.wandb != "disabled" and (name := os.environ.get("WANDB_NAME")):
            parts.append(f"WANDB_NAME={name} is used")
        return one_line(f"W&B: {'; '.join(parts)}") if parts else ""

    def preflight(self) -> None:
        """Raise InputError, with what to do, if an online run has no API key or cannot reach its server."""
        mode = self.resolve().wandb
        if mode == "disabled":
            return
        _check_environment()
        if mode != "online":
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

        if text := self.describe_environment():
            print(text)
        resolved = self.resolve()
        csv = CSVLogger(folder / "metrics.csv")
        if rows is not None and (missing := csv.truncate(rows)):
            print(f"metrics.csv has lost {missing} of the {rows} rows before the checkpoint; the run goes on without them")
        if resolved.wandb == "disabled":
            yield [csv]
        else:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            labels = resolved.model_dump(exclude={"wandb"}) | {"name": os.environ.get("WANDB_NAME") or folder.name}
            with remove_local_paths(folder / "wandb"):
                run = start_run(folder, str(resolved.wandb), config=dict(config), **labels)
                with ResumableWandbLogger(run, csv).finish_run() as wandb_logger:
                    for figure in sorted((folder / "figures").glob("*.png")):
                        wandb_logger.log_image(figure.stem, [str(figure)])
                    yield [csv, wandb_logger]


def _environment_value(key: str) -> Any:
    """The value of the environment for a field of the configuration; None if it has none."""
    text = os.environ.get(VARIABLES[key], "").strip()
    words = [word.strip() for word in text.split(",") if word.strip()]
    return (words if key == "tags" else text) or None


def _check_environment() -> None:
    """Raise InputError if a variable has a value that W&B does not take, for which it has a traceback."""
    import wandb
    from pydantic import ValidationError

    try:
        wandb.Settings().update_from_env_vars(dict(os.environ))
    except ValidationError as error:
        first = error.errors()[0]
        name = f"WANDB_{str(first['loc'][0]).removeprefix('run_').upper()}" if first["loc"] else "WANDB_…"
        secret = any(word in name for word in ("KEY", "TOKEN", "PASSWORD"))
        value = "its value" if secret else repr(re.sub("//[^/@]*@", "//", str(first["input"]))[:100])  # without a password
        raise InputError(Problem(name, f"{value} is refused by W&B: {first['msg']}", "unset it")) from error
    except wandb.Error as error:
        raise InputError(Problem("WANDB_…", f"a variable is refused by W&B: {error}", "unset it")) from error


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
