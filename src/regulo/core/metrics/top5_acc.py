"""Top-5 accuracy: the share of the images whose label is among the five classes with the largest logits."""

from torch import Tensor

from regulo.core.metrics.base import MeanMetric


class Top5Accuracy(MeanMetric):
    """Share of the images whose label is among the five likeliest classes, 0 to 1. Only with more than five classes."""

    title = "top-5 accuracy"
    reference = "torchmetrics.classification.Accuracy, top_k=5, average=micro"
    better = "high"
    percent = True
    order = 6
    min_classes = 6

    def per_image(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.topk(5).indices == labels[:, None]).any(1)
