"""Dropout (Srivastava et al., 2014, JMLR 15:1929), in its inverted form.

    training    h ← h · m / (1 − p),   m ~ Bernoulli(1 − p)
    inference   the identity

The site matters more than the rate. Convolutional maps lose whole channels (Tompson et al., 2015, arXiv:1411.4280), because
neighboring pixels carry the information of a dropped one. Attention loses weights after the softmax. Logits are never dropped,
because that makes calibration worse. The formula itself is `regulo.core.schedule.inverted_dropout`.

A ramp of `attention` sets a Python number in the attention layers of torchvision's models, as their kernels take no tensor. If
such a model is compiled (torch.compile), each new value compiles these layers again.
"""

from typing import ClassVar

from torch import Tensor, nn

from regulo.core.ranges import ProperShare
from regulo.core.schedule import Ramp, Rampable, RampBuffer, inverted_dropout
from regulo.core.search_space import Between, SearchSpace
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import Kind, RateSite, require_sites
from regulo.regularizers.base import Regularizer


class RampedDropout(nn.Module):
    """Dropout at a rate that changes during the run, on activations (B, …); `whole_channels`: on maps (B, C, H, W)."""

    def __init__(self, rate: float, whole_channels: bool) -> None:
        super().__init__()
        self.rate, self.whole_channels = RampBuffer(rate), whole_channels

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], 1, 1) if self.whole_channels else None
        return inverted_dropout(x, self.rate.value if self.training else None, shape)


class Dropout(Regularizer):
    """Dropout by site: fully connected activations, convolutional maps (whole channels), attention weights."""

    reference: ClassVar[str] = "JMLR 15:1929; arXiv:1411.4280"
    tags: ClassVar[frozenset[str]] = frozenset({"draws"})

    strength_fields: ClassVar[tuple[str, ...]] = ("fc", "conv", "attention")
    search_space: ClassVar[SearchSpace] = SearchSpace(0.4, {"fc": Between(0.05, 0.5)})

    fc: Rampable[ProperShare] = 0.2
    """p at hidden fully connected activations and at the features before the head; .1 to .5"""
    conv: Rampable[ProperShare] = 0.0
    """p of a channel at the activations after convolutions; .1 to .2"""
    attention: Rampable[ProperShare] = 0.0
    """p of an attention weight; .1, and 0 in modern recipes"""

    def surgery(self, model: nn.Module, dataset_info: DatasetInfo) -> None:
        rates: dict[Kind, Rampable[ProperShare]] = {"fc": self.fc, "conv": self.conv, "attention": self.attention}
        for kind, p in rates.items():
            if p:
                _insert_dropout(model, kind, p)


def _insert_dropout(model: nn.Module, kind: Kind, p: Rampable[ProperShare]) -> None:
    for site in require_sites(model, kind, f"regularizer.dropout.{kind}"):
        if isinstance(site, RateSite):
            site.set_rate(p)
        elif isinstance(p, Ramp):
            site.insert(RampedDropout(p, whole_channels=kind == "conv"))
        else:
            site.insert(nn.Dropout2d(p) if kind == "conv" else nn.Dropout(p))
