"""Expected calibration error (Guo et al., 2017, arXiv:1706.04599, equation 3)."""

from regulo.core.metrics.base import EvalOutput, Metric


class CalibrationError(Metric):
    """Mean over 15 equal bins of |accuracy − confidence|, where the confidence is the largest probability. 0 to 1."""

    title = "ECE"
    reference = "arXiv:1706.04599"
    better = "low"
    percent = True
    in_studies = True
    order = 2

    def compute(self, output: EvalOutput) -> float:
        from torchmetrics.functional.classification import multiclass_calibration_error

        p = output.logits.softmax(1)
        return multiclass_calibration_error(p, output.labels, num_classes=p.shape[1], n_bins=15).item()
