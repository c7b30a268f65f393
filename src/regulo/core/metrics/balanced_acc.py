"""Balanced accuracy: each class counts the same, however many images it has."""

from torch import Tensor

from regulo.core.metrics.base import ConfusionMetric
from regulo.core.metrics.components import by_class


class BalancedAccuracy(ConfusionMetric):
    """Mean of the recall of the classes that have images in the split, 0 to 1."""

    title = "balanced accuracy"
    reference = "torchmetrics.classification.Accuracy, average=macro"
    better = "high"
    balanced = True
    percent = True
    order = 4

    def from_confusion(self, matrix: Tensor) -> Tensor:
        return by_class.recall(matrix).nanmean()
