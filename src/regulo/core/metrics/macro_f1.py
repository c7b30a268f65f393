"""Macro F1: each class counts the same, however many images it has."""

from torch import Tensor

from regulo.core.metrics.base import ConfusionMetric
from regulo.core.metrics.components import by_class


class MacroF1(ConfusionMetric):
    """Mean of the F1 scores of the classes that have images in the split, 0 to 1."""

    title = "macro F1"
    reference = "torchmetrics.classification.F1Score, average=macro"
    better = "high"
    balanced = True
    order = 5

    def from_confusion(self, matrix: Tensor) -> Tensor:
        return by_class.f1(matrix).nanmean()
