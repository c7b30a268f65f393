"""The base classes of all metrics, and the predictions that they score."""

import functools
import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from regulo.core.registry import classes_in, list_modules


@dataclass(frozen=True)
class EvalOutput:
    """The predictions of a model on one split, in the order of the split."""

    logits: Tensor  # (n, K) float32 on the host
    labels: Tensor  # (n,) int64 on the host
    extras: dict[str, Tensor] = field(default_factory=dict)  # (n,) by name: further outputs of the plan's inference

    def scores(self) -> dict[str, float]:
        """The value of every metric that is defined for these labels, by its name, and the mean of each of `extras`."""
        means = {name: values.double().mean().item() for name, values in self.extras.items()}
        values = {metric.name: metric.compute(self) for metric in list_metrics(self.logits.shape[1])}
        return {name: value for name, value in values.items() if value is not None} | means

    def confusion_matrix(self) -> Tensor:
        """(K, K) counts: rows are labels, columns are predictions."""
        k = self.logits.shape[1]
        return torch.bincount(self.labels * k + self.logits.argmax(1), minlength=k * k).view(k, k)


class Metric:
    """A number that says how good the predictions on a split are, or how bad. Its attributes say how tables show it."""

    title: ClassVar[str]
    """the heading of its column"""
    reference: ClassVar[str]
    """the source: paper and equation, or the package that implements it"""
    better: ClassVar[Literal["high", "low"]]
    """whether high or low values are better"""
    unit: ClassVar[str] = ""
    """the unit of the value; empty for a plain number"""
    percent: ClassVar[bool] = False
    """whether studies show it in percent"""
    in_studies: ClassVar[bool] = False
    """whether studies compare it with the base. Each column that they compare makes the intervals of all columns wider"""
    order: ClassVar[int] = 100
    """position in tables: lower ones come first, then by name"""
    min_classes: ClassVar[int] = 2
    """with fewer classes it says nothing, and is left out"""
    balanced: ClassVar[bool] = False
    """whether every class counts the same, however many images it has"""
    in_validation: ClassVar[bool] = False
    """whether it is also computed in the validation of every epoch, so that `monitor` can be `val/<name>`"""

    @property
    def name(self) -> str:
        """The name of its module, which is its key in result.json: `test/<name>`."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def heading(self) -> str:
        """The title with the unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def compute(self, output: EvalOutput) -> float | None:
        """The value for all predictions on a split; None if it is not defined for their labels."""
        raise NotImplementedError


class ConfusionMetric(Metric):
    """A metric of the confusion matrix. It is also computed in the validation of every epoch, over all processes."""

    in_validation = True

    def compute(self, output: EvalOutput) -> float:
        return self.from_confusion(output.confusion_matrix().double()).item()

    def from_confusion(self, matrix: Tensor) -> Tensor:
        """The value () of a confusion matrix (K, K) of integers or float64: rows are labels, columns are predictions."""
        raise NotImplementedError


class MeanMetric(Metric):
    """A metric that is a mean over the images. It is also computed in the validation of every epoch, over all processes."""

    in_validation = True

    def compute(self, output: EvalOutput) -> float:
        return self.per_image(output.logits, output.labels).double().mean().item()

    def per_image(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The value of each image (B,), from logits (B, K) and labels (B,), on their device and without waiting for it."""
        raise NotImplementedError


def list_metrics(num_classes: float = math.inf) -> tuple[Metric, ...]:
    """One metric from each module of this package, in the order of tables; those that say something about so many classes.

    Raises TypeError if a module has none or several.
    """
    metrics = _load_metrics(tuple(list_modules(__name__.rpartition(".")[0])))
    return tuple(metric for metric in metrics if metric.min_classes <= num_classes)


@functools.cache
def _load_metrics(names: tuple[str, ...]) -> tuple[Metric, ...]:
    package = __name__.rpartition(".")[0]
    metrics = []
    for name in names:
        classes = classes_in(f"{package}.{name}", Metric)
        if len(classes) != 1:
            raise TypeError(f"{package}.{name} must define exactly one Metric, and defines {len(classes)}")
        metrics.append(classes[0]())
    return tuple(sorted(metrics, key=lambda metric: (metric.order, metric.name)))
