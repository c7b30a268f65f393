"""The entropy of predictions."""

from torch import Tensor


def entropy(log_p: Tensor) -> Tensor:
    """−Σ_k p_k log p_k in nats: log-probabilities (…, K) → (…)."""
    return -(log_p.exp() * log_p).sum(-1)
