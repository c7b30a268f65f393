"""Metrics on their way to W&B."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import WandbLogger


class Dashboard(WandbLogger):
    """Leaves out the first `said` rows: a run that goes on from a checkpoint repeats, to the bit, what came after it before."""

    def __init__(self, run: Any, said: int = 0) -> None:
        super().__init__(experiment=run)
        self.said = said

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """A row, unless W&B has it."""
        if self.said:
            self.said -= 1
        else:
            super().log_metrics(metrics, step)
