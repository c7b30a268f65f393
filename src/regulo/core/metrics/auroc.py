"""Area under the ROC curve of each class against all others (Hand & Till 2001, Machine Learning 45:171, section 2.2)."""

from regulo.core.metrics.base import EvalOutput, Metric


class AUROC(Metric):
    """The chance that an image of a class has a higher probability of it than an image of another class: mean over the classes
    that have images in the split, 0 to 1; None if that is one class. It is computed after the training only.
    """

    title = "AUROC"
    reference = "torchmetrics.classification.AUROC, average=macro"
    better = "high"
    balanced = True
    order = 7

    def compute(self, output: EvalOutput) -> float | None:
        from torchmetrics.functional.classification import binary_auroc

        classes = output.labels.unique().tolist()
        if len(classes) == 1:
            return None
        p = output.logits.double().softmax(1)
        # one class after the other: torchmetrics' multiclass_auroc counts a class without images as 0
        areas = [binary_auroc(p[:, k], (output.labels == k).long(), validate_args=False).item() for k in classes]
        return sum(areas) / len(areas)
