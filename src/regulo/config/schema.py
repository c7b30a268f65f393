"""The valid configuration of a run: what each group holds."""

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from regulo.callbacks.base import Observer
from regulo.config.trainer import TrainerSpec
from regulo.core.paths import Place
from regulo.core.registry import Spec, Strict
from regulo.data.base import DataSet
from regulo.models.base import Model
from regulo.optim.base import Optimizer
from regulo.regularizers.base import Goal, Regularizer
from regulo.tracking.loggers import LoggerSpec

NAMED = ("data", "model", "optim")  # one extension each, chosen by `name`
MANY = ("regularizer", "callbacks")  # any number of extensions, by key
FIXED: dict[str, type[Strict]] = {"trainer": TrainerSpec, "logger": LoggerSpec}


class Run(Strict):
    """What belongs to the run as a whole."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """draws everything: initial weights, order of images, augmentation, mixing, dropout"""
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w.+-]+$")] = "run"
    """part of the run folder's name"""
    run_dir: Place | None = None
    """the run's folder, which must be empty or absent; null: runs/<date>-<time>-<name>"""
    strength: Annotated[float, Field(ge=0, le=10)] = 1.0
    """multiplies the strength of every technique of the plan: 0 is no regularization, 1 what is written"""
    monitor: Literal["val/loss", "val/acc"] = "val/loss"
    """what the best epoch is best in; the one place that checkpoints and early stopping look at"""

    @property
    def goal(self) -> Goal:
        """The monitor, and whether it should fall or rise."""
        return Goal(self.monitor, "min" if self.monitor.endswith("loss") else "max")


@dataclasses.dataclass(frozen=True)
class Config:
    """A valid run."""

    run: Run
    data: DataSet
    model: Model
    optim: Optimizer
    trainer: TrainerSpec
    logger: LoggerSpec
    regularizer: dict[str, Regularizer]
    callbacks: dict[str, Observer]

    def as_dict(self) -> dict[str, Any]:
        """Plain data that `validate` accepts again."""
        result = self.run.model_dump()
        for group in NAMED:
            part: Spec = getattr(self, group)
            result[group] = {"name": part.name, **part.model_dump()}
        for group in MANY:
            result[group] = {name: part.model_dump() for name, part in getattr(self, group).items()}
        for group in FIXED:
            result[group] = getattr(self, group).model_dump()
        return result
