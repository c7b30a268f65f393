"""The entropy and the mean of predictions."""

import math

from torch import Tensor


def entropy(log_p: Tensor) -> Tensor:
    """−Σ_k p_k log p_k in nats: log-probabilities (…, K) → (…)."""
    return -(log_p.exp() * log_p).sum(-1)


def mean_prediction(log_p: Tensor) -> Tensor:
    """The log of the mean of S predictions: log-probabilities (S, B, K) → (B, K). No probability underflows to 0."""
    return log_p.logsumexp(0) - math.log(len(log_p))
