"""The negative log-likelihood, which is the cross-entropy of hard labels."""

import torch.nn.functional as F

from regulo.core.metrics.base import EvalOutput, Metric


class NegativeLogLikelihood(Metric):
    """Mean over the images of −log p(label), in nats. During training, `EvalMetrics` sums it on the device."""

    title = "NLL"
    reference = "torch.nn.functional.cross_entropy"
    better = "low"
    unit = "nats"
    in_studies = True
    in_validation = True
    order = 1

    def compute(self, output: EvalOutput) -> float:
        return F.cross_entropy(output.logits.double(), output.labels).item()
