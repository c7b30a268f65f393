"""Monte Carlo dropout (Gal & Ghahramani, 2016, arXiv:1506.02142): dropout stays on in inference, and S passes are averaged.

    p̄ = 1/S Σ_s p_s  with  p_s = softmax(f(x; m_s)),  masks m_s drawn anew      (equation 6)
    H[p̄] = −Σ_k p̄_k log p̄_k                     the predictive entropy: all of the uncertainty
    I = H[p̄] − 1/S Σ_s H[p_s]  ≥ 0               the mutual information: what more data could still take away

What is drawn is what the plan drew in training, wherever it was put: BatchNorm and all else stay in inference mode. Only the
final answers are drawn (the run's last scores, `evaluate`, `predict`); validation while the run goes on stays the plain one.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from regulo.models.components.sites import RateSite, Site
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.entropy import entropy


class MCDropout(Regularizer):
    """Average the final answers over dropout masks, and say how far they disagree."""

    reference: ClassVar[str] = "arXiv:1506.02142"
    requires: ClassVar[dict[str, str]] = {"draws": "averages over what layers draw, and none draws"}

    samples: Annotated[int, Field(ge=1, le=1000)] = 20
    """S, passes per answer: 10 to 100; an answer costs as many times a plain one"""

    def infer(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        with drawing(model):
            return summary(torch.stack([model(images).float().log_softmax(1) for _ in range(self.samples)]))


def summary(log_p: Tensor) -> dict[str, Tensor]:
    """From log p_s (S, B, K): log p̄ (B, K) as the logits, its entropy (B,) and the mutual information (B,), in nats."""
    mean = log_p.logsumexp(0) - math.log(len(log_p))  # in logs: a probability that underflows would cost infinite nats
    total = entropy(mean)
    shared = (total - entropy(log_p).mean(0)).clamp(min=0)  # rounding alone can make it negative
    return {"logits": mean, "entropy": total, "mutual_information": shared}


@contextmanager
def drawing(model: nn.Module) -> Iterator[None]:
    """Within: what draws in training draws, and nothing else is in training mode."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    for module in _drawn(model):
        module.training = True  # of this module alone: its children may be of another kind
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _drawn(model: nn.Module) -> Iterator[nn.Module]:
    """What a plan put into sites, the owners of rates (attention), and dropout that the model brings along."""
    for module in model.modules():
        if isinstance(module, Site):
            yield from module.inner.modules()
        elif isinstance(module, nn.modules.dropout._DropoutNd) or any(isinstance(c, RateSite) for c in module.children()):
            yield module
