"""Monte Carlo dropout (Gal & Ghahramani, 2016, arXiv:1506.02142): dropout stays on in inference, and S passes are averaged.

    p̄ = 1/S Σ_s p_s  with  p_s = softmax(f(x; m_s)) and new masks m_s           (equation 6)
    H[p̄] = −Σ_k p̄_k log p̄_k                     the predictive entropy: all of the uncertainty
    I = H[p̄] − 1/S Σ_s H[p_s]  ≥ 0               the mutual information: the part that more data could remove

All layers that are random in training are random here, too; BatchNorm and all other layers stay in inference mode. It acts on the
final predictions only (the last scores of the run, `evaluate`, `predict`), not on the validation during the run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from regulo.core.search_space import SearchSpace
from regulo.models.components.sites import RateSite, Site
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.entropy import entropy, mean_prediction


def summarize_passes(log_p: Tensor) -> dict[str, Tensor]:
    """From log p_s (S, B, K): log p̄ (B, K) as the logits, H[p̄] (B,) and I (B,) in nats, by name."""
    mean = mean_prediction(log_p)
    total = entropy(mean)
    information = (total - entropy(log_p).mean(0)).clamp(min=0)  # rounding can make it slightly negative
    return {"logits": mean, "entropy": total, "mutual_information": information}


@contextmanager
def random_layers_on(model: nn.Module) -> Iterator[None]:
    """Inside the context, the layers that are random in training are in training mode, all others in inference mode."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    for module in _random_layers(model):
        module.training = True  # not train(), which would also switch the children
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _random_layers(model: nn.Module) -> Iterator[nn.Module]:
    """The modules inside sites, the owners of rates (attention), and the dropout layers of the model itself."""
    for module in model.modules():
        if isinstance(module, Site):
            yield from module.inner.modules()
        elif isinstance(module, nn.modules.dropout._DropoutNd) or any(isinstance(c, RateSite) for c in module.children()):
            yield module


class MCDropout(Regularizer):
    """Average the final predictions over dropout masks, and report how much they differ."""

    reference: ClassVar[str] = "arXiv:1506.02142"
    requires: ClassVar[dict[str, str]] = {"draws": "it averages over random layers, and the model has none"}
    search_space: ClassVar[SearchSpace] = SearchSpace(why_not="it changes the predictions of a finished run, not the training")

    samples: Annotated[int, Field(ge=1, le=1000)] = 20
    """S, passes per prediction: 10 to 100; the cost of inference grows by this factor"""

    def infer(self, model: nn.Module, images: Tensor) -> dict[str, Tensor]:
        with random_layers_on(model):
            return summarize_passes(torch.stack([model(images).float().log_softmax(1) for _ in range(self.samples)]))
