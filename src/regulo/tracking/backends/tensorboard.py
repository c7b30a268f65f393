"""TensorBoard: event files in the run folder, without the name of the machine."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from lightning.pytorch.loggers import TensorBoardLogger

from regulo.core.nested import flatten
from regulo.tracking.backends.base import Backend, RowLogger, RunInfo, closing, numbers
from regulo.tracking.csv_logger import CSVLogger


class TensorBoard(Backend):
    """Writes `tensorboard/` in the run folder; `tensorboard --logdir runs` shows all runs."""

    package = "tensorboard"
    extra = "tensorboard"

    @contextmanager
    def open_logger(self, info: RunInfo, metrics: CSVLogger) -> Iterator["TensorBoardRowLogger"]:
        """Context with a logger that writes a new event file. A resumed run is written again from its first row.

        Event files are only appended to, and a killed process loses its latest events: an old file may have too many rows, or
        too few.
        """
        folder = info.folder / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        with anonymous_file_names():
            logger = TensorBoardRowLogger(info.folder, name="tensorboard", version="", default_hp_metric=False)
            with closing(logger, lambda _: logger.experiment.close()):
                logger.run_config = info.config
                logger.replay(metrics, info.folder / "figures")
                yield logger


@contextmanager
def anonymous_file_names() -> Iterator[None]:
    """Context in which the names of new event files have `localhost` in place of the machine's name. There is no setting."""
    from tensorboard.summary.writer import event_file_writer

    socket = event_file_writer.socket
    event_file_writer.socket = SimpleNamespace(gethostname=lambda: "localhost")
    try:
        yield
    finally:
        event_file_writer.socket = socket


class TensorBoardRowLogger(RowLogger, TensorBoardLogger):
    """Scalars, figures, and at the end the hyperparameters with the final scores."""

    run_config: Mapping[str, Any]
    loss_message: ClassVar[str] = "TensorBoard's file cannot be written"

    def log_row(self, metrics: Mapping[str, float], step: int) -> None:
        """Log each value as a scalar."""
        for name, value in metrics.items():
            self.experiment.add_scalar(name, value, step)

    def log_figure(self, name: str, path: Path) -> None:
        """Log the pixels of an image file."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self.experiment.add_image(name, np.asarray(image.convert("RGB")), self.step, dataformats="HWC")

    def log_result(self, result: Mapping[str, Any]) -> None:
        """Log the settings and the final scores, as `final/…`, for the tab HParams."""
        from torch.utils.tensorboard.summary import hparams

        scores = {f"final/{name}": value for name, value in numbers(result).items()}
        for name, value in scores.items():
            self.experiment.add_scalar(name, value, self.step)
        settings = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in flatten(self.run_config).items()}
        for summary in hparams(settings, scores):
            self.experiment.file_writer.add_summary(summary)

    def save(self) -> None:
        """Write what is waiting in memory. Lightning's would also write the settings into a file; config.yaml has them."""
        self.experiment.flush()
