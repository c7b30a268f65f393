"""The Brier score of a classifier (Brier 1950, equation 2)."""

import torch.nn.functional as F

from regulo.core.metrics.base import EvalOutput, Metric


class BrierScore(Metric):
    """Mean over the images of Σ_k (p_k − y_k)², 0 to 2."""

    title = "Brier score"
    reference = "Brier 1950, equation 2"
    better = "low"
    order = 3

    def compute(self, output: EvalOutput) -> float:
        p = output.logits.softmax(1)
        return (p.double() - F.one_hot(output.labels, p.shape[1])).square().sum(1).mean().item()
