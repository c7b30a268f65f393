"""The valid configuration of a run: one typed field per group."""

import dataclasses
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from regulo.callbacks.base import CallbackConfig
from regulo.config.trainer import TrainerConfig
from regulo.core.metrics.base import Metric, list_metrics
from regulo.core.paths import PathStr
from regulo.core.registry import PluginConfig, StrictConfig
from regulo.core.search_space import Between, SearchSpace
from regulo.data.base import DatasetConfig
from regulo.models.base import ModelConfig
from regulo.optim.base import OptimizerConfig
from regulo.regularizers.base import Goal, Regularizer
from regulo.tracking.loggers import LoggerConfig

SINGLE = ("data", "model", "optim")
"""groups with exactly one extension, selected by `name`"""
MULTI = ("regularizer", "callbacks")
"""groups with any number of extensions, by key"""
SECTIONS: dict[str, type[StrictConfig]] = {"trainer": TrainerConfig, "logger": LoggerConfig}
"""groups that always have the same class"""


def monitors() -> dict[str, Metric]:
    """The metrics that `monitor` can be, by its value: those that are computed in every validation."""
    return {f"val/{metric.name}": metric for metric in list_metrics() if metric.in_validation}


def _check_monitor(value: str) -> str:
    """Raises PydanticCustomError, which lists the choices, if no metric of the validation has this name."""
    if value not in monitors():
        is_final = value in [f"val/{metric.name}" for metric in list_metrics()]
        what = "Input is computed after the training only" if is_final else "Input is no metric of the validation"
        raise PydanticCustomError("monitor", what, {"choices": list(monitors())})
    return value


def _list_monitors(schema: dict[str, Any]) -> None:
    schema["enum"] = list(monitors())


class RunConfig(StrictConfig):
    """The keys that belong to the run as a whole."""

    search_space: ClassVar[SearchSpace] = SearchSpace(fields={"strength": Between(0.5, 2.0, log=True)})
    """what a search tries"""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """seed of everything random: initial weights, order of images, augmentation, mixing, dropout"""
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w.+-]+$")] = "run"
    """part of the run folder's name"""
    run_dir: PathStr | None = None
    """the run's folder, which must be empty or absent; null: runs/<date>-<time>-<name>"""
    strength: Annotated[float, Field(ge=0, le=10)] = 1.0
    """multiplies the strength of every technique of the plan: 0 is no regularization, 1 leaves the strengths as they are"""
    monitor: Annotated[str, AfterValidator(_check_monitor), Field(json_schema_extra=_list_monitors)] = "val/loss"
    """metric that selects the best epoch, for checkpoints and for early stopping"""

    @property
    def goal(self) -> Goal:
        """The monitor, and whether lower or higher is better."""
        return Goal(self.monitor, "min" if monitors()[self.monitor].better == "low" else "max")


@dataclasses.dataclass(frozen=True)
class Config:
    """The valid configuration of a run."""

    run: RunConfig
    data: DatasetConfig
    model: ModelConfig
    optim: OptimizerConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    regularizer: dict[str, Regularizer]
    callbacks: dict[str, CallbackConfig]

    def take_input_of_weights(self) -> tuple["Config", str]:
        """The config of a new run, in which null fields of the data have what its first weights expect, and a line about it.

        The line is empty without such weights. Raises InputError if they are not there.
        """
        from regulo.models.components.weights import input_of_weights

        spec = input_of_weights(self.model)
        if spec is None:
            return self, ""
        data = self.data.take_input(spec)
        values = {name: value for name, value in spec if value is not None and name in type(data).model_fields}
        texts = [f"{name} {_short(value)}" for name, value in values.items() if getattr(data, name) == value]
        others = [f"{name} {_short(getattr(data, name))}" for name, value in values.items() if getattr(data, name) != value]
        note = f"input of the weights: {', '.join(texts)}" + (f"; set otherwise: {', '.join(others)}" if others else "")
        return dataclasses.replace(self, data=data), note

    def as_dict(self) -> dict[str, Any]:
        """The configuration as plain data, which `validate_config` accepts again."""
        result = self.run.model_dump()
        for group in SINGLE:
            part: PluginConfig = getattr(self, group)
            result[group] = {"name": part.name, **part.model_dump()}
        for group in MULTI:
            result[group] = {name: part.model_dump() for name, part in getattr(self, group).items()}
        for group in SECTIONS:
            result[group] = getattr(self, group).model_dump()
        return result


def _short(value: Any) -> str:
    """A number, a word, or the numbers of a list."""
    if isinstance(value, list):
        return " ".join(map(_short, value)) if len(set(value)) > 1 else _short(value[0])
    return f"{value:.4g}" if isinstance(value, float) else str(value)
