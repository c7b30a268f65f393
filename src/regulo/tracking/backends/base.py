"""The base classes of all backends and of their loggers."""

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers.logger import Logger

from regulo.core.errors import InputError, Problem, one_line
from regulo.tracking.csv_logger import CSVLogger


@dataclass(frozen=True)
class RunInfo:
    """What a backend shows of a run besides its rows, and how it is logged."""

    folder: Path
    title: str
    """what is different about the run, in short"""
    config: Mapping[str, Any]
    """the settings on which its result depends, as nested plain data"""
    tags: Sequence[str] = ()
    project: str = "regulo"
    group: str | None = None
    entity: str | None = None
    mode: str = "offline"
    alerts: bool = False


class RowLogger(Logger):
    """Logs the rows of metrics.csv, by their numbers: none is missing, and none is logged twice.

    The backend may have fewer rows than metrics.csv (a killed process loses rows that were not yet written or sent): they are
    logged from the file. It may have more rows (a resumed run cuts metrics.csv back to its checkpoint): these are not logged
    again.
    """

    rows = 0
    """number of rows so far"""
    logged_rows = 0
    """number of rows that the backend had when the logger was made"""
    step = 0
    """optimizer step of the latest row"""
    is_available = True
    errors: tuple[type[Exception], ...] = (OSError,)
    """what is raised when the backend is lost; the run goes on without it"""
    loss_message: ClassVar[str] = "the logger has failed"

    def log_row(self, metrics: Mapping[str, float], step: int) -> None:
        """Log a new row of metrics, at an optimizer step."""
        raise NotImplementedError

    def log_figure(self, name: str, path: Path) -> None:
        """Log an image file."""
        raise NotImplementedError

    def log_result(self, result: Mapping[str, Any]) -> None:
        """Log the final result: the content of result.json."""
        raise NotImplementedError

    def log_model(self, path: Path) -> None:
        """Log the checkpoint of the final weights. Does nothing where a backend stores no files."""

    def replay(self, metrics: CSVLogger, figures: Path) -> None:
        """Log what the run has left before it was resumed."""
        for row in metrics.read_rows():
            self.log_metrics({k: float(v) for k, v in row.items() if v and k != "step"}, int(row["step"]))
        for figure in sorted(figures.glob("*.png")):
            self.attempt(self.log_figure, figure.stem, figure)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a row, unless the backend already has it."""
        self.step = step or 0
        if self.rows >= self.logged_rows:
            self.attempt(self.log_row, metrics, self.step)
        self.rows += 1

    def finalize(self, status: str = "success") -> None:
        """Does nothing: Lightning calls it after training, and the final scores come later."""

    def attempt(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call a function of the backend. If the backend is lost, go on without it."""
        if not self.is_available:
            return
        try:
            function(*args, **kwargs)
        except self.errors as error:
            self.is_available = False
            print(one_line(f"regulo: {self.loss_message} ({error}); the run goes on without it"), file=sys.stderr)
            self.abandon()

    def abandon(self) -> None:
        """Let go of a backend that is lost."""


class Backend:
    """A place where runs are logged. Its class attributes say what it needs."""

    package: ClassVar[str]
    """the Python package that it imports"""
    extra: ClassVar[str] = ""
    """the extra of `pip install regulo[…]` that installs the package; empty if it is always installed"""

    @property
    def name(self) -> str:
        """The name of its module, which is its name in the configuration."""
        return type(self).__module__.rpartition(".")[2]

    def preflight(self, mode: str) -> None:
        """Check what it needs before training. Raises InputError, with what to do. mode: of W&B, `offline` or `online`."""
        if importlib.util.find_spec(self.package) is None:
            raise InputError(Problem("logger", f"{self.name} is not installed", f"pip install 'regulo[{self.extra}]'"))

    def open_logger(self, info: RunInfo, metrics: CSVLogger) -> "Any":
        """Context with the logger of a run, which has what the run has left before it was resumed. It ends with the run."""
        raise NotImplementedError


def numbers(result: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a result."""
    return {k: float(v) for k, v in result.items() if isinstance(v, int | float) and math.isfinite(v)}


@contextmanager
def closing(logger: RowLogger, close: Callable[[type[BaseException] | None], object]) -> Iterator[None]:
    """Context after which `close` is called with the type of the exception that has ended the run, or with None."""
    error: type[BaseException] | None = None
    try:
        yield
    except BaseException as exception:
        error = type(exception)
        raise
    finally:
        logger.attempt(close, error)
