"""What goes to W&B, and what does not."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from regulo.metrics import MetricsFile

TO_BEGIN, TO_END = 30.0, 60.0
"""seconds that a run waits for W&B's server at its beginning and at its end; in between it never waits"""


def settings(offline: bool) -> Any:
    """With which a W&B run says nothing of who made it where, and a run ends although its server does not answer."""
    import wandb

    return wandb.Settings(
        silent=offline,
        console="off",
        init_timeout=TO_BEGIN,
        finish_timeout=TO_END,
        x_disable_meta=True,  # else the .wandb file holds command line, folders, host and user, the git remote and its commit
        x_disable_machine_info=True,
        disable_git=True,
        disable_code=True,
        email=None,
        username=None,
    )


@contextmanager
def forgetting_paths(folder: Path) -> Iterator[None]:
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


class Dashboard(WandbLogger):
    """The rows of metrics.csv, each under its own number as W&B's step, so that none is missing or told twice.

    A process that is killed loses what W&B had not written or sent. W&B knows with which step it goes on (an offline run, which
    is written anew, with the first); whatever lies between is taken from metrics.csv.
    """

    def __init__(self, run: Any, metrics: MetricsFile) -> None:
        super().__init__(experiment=run)
        self.row, self.known, self.alive = 0, int(run.step), True
        for row in metrics.content():
            self.log_metrics({k: float(v) for k, v in row.items() if v and k != "step"}, int(row["step"]))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """A row, unless W&B has it."""
        if self.row >= self.known:
            self._ask(self.experiment.log, {**metrics, "trainer/global_step": step}, step=self.row)
        self.row += 1

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        """Beside the next row."""
        import wandb

        self._ask(self.experiment.log, {key: [wandb.Image(image) for image in images]}, step=max(self.row, self.known))

    @contextmanager
    def finished(self) -> Iterator["Dashboard"]:
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


def earlier(folder: Path, offline: bool) -> str | None:
    """The id of the run that this folder's W&B files are of; those of an offline run, which is written anew, are removed."""
    places = [run for run in _runs(folder / "wandb") if run.name.count("-") >= 2]
    if offline:
        for place in places:
            shutil.rmtree(place)
    return places[-1].name.rpartition("-")[2] if places else None
