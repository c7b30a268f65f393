"""Dropout (Srivastava et al., 2014, JMLR 15:1929), inverted: in training h ← h · m / (1 − p) with m ~ Bernoulli(1 − p); in
inference the identity.

Where it acts matters more than its rate: convolutional maps lose whole channels (Tompson et al., 2015, arXiv:1411.4280),
because neighbouring pixels would give a dropped one away; attention loses weights after the softmax; the logits are never
dropped, because that spoils calibration.
"""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from regulo.batch import Facts
from regulo.errors import Problem, Refused
from regulo.regularizers.base import Regularizer
from regulo.sites import KINDS, Kind, RateSite, sites

Rate = Annotated[float, Field(ge=0, lt=1)]


class Dropout(Regularizer):
    """Dropout by site: fully connected activations, convolutional maps (whole channels), attention weights."""

    source: ClassVar[str] = "JMLR 15:1929; arXiv:1411.4280"

    fc: Rate = 0.2
    """p at hidden fully connected activations and at the features before the head; .1 to .5"""
    conv: Rate = 0.0
    """p of a channel at the activations after convolutions; .1 to .2"""
    attention: Rate = 0.0
    """p of an attention weight; .1, and 0 in modern recipes"""

    def surgery(self, model: nn.Module, facts: Facts) -> None:
        for kind in KINDS:
            p = getattr(self, kind)
            if p:
                _drop(model, kind, p)


def _drop(model: nn.Module, kind: Kind, p: float) -> None:
    found = sites(model, kind)
    if not found:
        has = ", ".join(k for k in KINDS if sites(model, k)) or "none"
        what = f"this model has no site of the kind {kind!r}; it has: {has}"
        raise Refused(Problem(f"regularizer.dropout.{kind}", what, f"set regularizer.dropout.{kind}=0"))
    for site in found:
        if isinstance(site, RateSite):
            site.set_rate(p)
        else:
            site.put(nn.Dropout2d(p) if kind == "conv" else nn.Dropout(p))
