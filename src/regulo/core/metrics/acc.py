"""Accuracy: the share of the images whose largest logit is that of the label."""

from torch import Tensor

from regulo.core.metrics.base import ConfusionMetric


class Accuracy(ConfusionMetric):
    """Share of correct predictions, 0 to 1."""

    title = "accuracy"
    reference = "torchmetrics.classification.Accuracy, average=micro"
    better = "high"
    percent = True
    in_studies = True
    order = 0

    def from_confusion(self, matrix: Tensor) -> Tensor:
        return matrix.trace() / matrix.sum()
