"""Dropout that is too strong for the size of the network."""

from collections.abc import Iterator

from torch import nn

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.core.schedule import peak

HIGHEST = {"fc": 0.7, "conv": 0.3, "attention": 0.3}
SAFE_RATES = {"fc": 0.2, "conv": 0.1, "attention": 0.1}
FEATURES, HALF = 48, 0.4


class DropoutCapacity(Rule):
    """A dropout rate that is too high for its site, or that leaves too few features."""

    why = "a layer that needs n units without dropout needs n / (1 − p) with it; here too few are left to classify"
    reference = "Srivastava et al. 2014, JMLR 15:1929, appendix A.1; Tompson et al. 2015, arXiv:1411.4280 (maps)"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        dropout = case.technique("dropout")
        if not dropout:
            return
        linear = [m for m in case.model.modules() if isinstance(m, nn.Linear)]
        features = linear[-1].in_features if linear else 0
        for kind, highest in HIGHEST.items():
            p = peak(getattr(dropout, kind))
            too_few = kind == "fc" and p >= HALF and 0 < (1 - p) * features < FEATURES
            if p > highest or too_few:
                left = f", which leaves {(1 - p) * features:.0f} of {features} features before the head" if kind == "fc" else ""
                fix = f"regularizer.dropout.{kind}={case.config_value(SAFE_RATES[kind])}"
                yield self.warning(f"regularizer.dropout.{kind}", f"a dropout rate of {p:g}{left}", fix)
