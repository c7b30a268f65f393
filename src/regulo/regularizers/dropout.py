"""Dropout (Srivastava et al., 2014, JMLR 15:1929), inverted: in training h ← h · m / (1 − p) with m ~ Bernoulli(1 − p); in
inference the identity.

Where it acts matters more than its rate: convolutional maps lose whole channels (Tompson et al., 2015, arXiv:1411.4280),
because neighbouring pixels would give a dropped one away; attention loses weights after the softmax; the logits are never
dropped, because that spoils calibration.
"""

from typing import ClassVar

from torch import Tensor, nn

from regulo.core.ranges import ProperShare
from regulo.core.schedule import Ramp, Rampable, RampBuffer, inverted_dropout
from regulo.core.types import DatasetInfo
from regulo.models.components.sites import Kind, RateSite, require_sites
from regulo.regularizers.base import Regularizer


class Dropout(Regularizer):
    """Dropout by site: fully connected activations, convolutional maps (whole channels), attention weights."""

    reference: ClassVar[str] = "JMLR 15:1929; arXiv:1411.4280"
    tags: ClassVar[frozenset[str]] = frozenset({"draws"})

    strength_fields: ClassVar[tuple[str, ...]] = ("fc", "conv", "attention")

    fc: Rampable[ProperShare] = 0.2
    """p at hidden fully connected activations and at the features before the head; .1 to .5"""
    conv: Rampable[ProperShare] = 0.0
    """p of a channel at the activations after convolutions; .1 to .2"""
    attention: Rampable[ProperShare] = 0.0
    """p of an attention weight; .1, and 0 in modern recipes"""

    def surgery(self, model: nn.Module, facts: DatasetInfo) -> None:
        for kind in ACTS_ON:
            p = getattr(self, kind)
            if p:
                _drop(model, kind, p)


ACTS_ON: tuple[Kind, ...] = ("fc", "conv", "attention")


def _drop(model: nn.Module, kind: Kind, p: Rampable[ProperShare]) -> None:
    for site in require_sites(model, kind, f"regularizer.dropout.{kind}"):
        if isinstance(site, RateSite):
            site.set_rate(p)
        elif isinstance(p, Ramp):
            site.insert(DialledDropout(p, whole_channels=kind == "conv"))
        else:
            site.insert(nn.Dropout2d(p) if kind == "conv" else nn.Dropout(p))


class DialledDropout(nn.Module):
    """Dropout at a rate that changes while the run goes on."""

    def __init__(self, rate: float, whole_channels: bool) -> None:
        super().__init__()
        self.rate, self.whole_channels = RampBuffer(rate), whole_channels

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], 1, 1) if self.whole_channels else None
        return inverted_dropout(x, self.rate.value if self.training else None, shape)
