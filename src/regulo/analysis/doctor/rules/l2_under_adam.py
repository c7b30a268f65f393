"""L2 instead of decoupled decay."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.core.schedule import peak
from regulo.optim.base import AdamOptimizer


class L2UnderAdam(Rule):
    """Weight decay in the gradient (L2) under an adaptive optimizer."""

    why = "Adam divides λθ by the gradient's own scale, so that weights with large gradients hardly decay"
    reference = "Loshchilov & Hutter 2019, arXiv:1711.05101, section 2"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        decay = case.technique("weight_decay")
        if decay and decay.mode == "l2" and peak(decay.rate) and isinstance(case.config.optim, AdamOptimizer):
            what = f"weight decay of {peak(decay.rate):g} as l2 under {case.config.optim.name}"
            fix = ("regularizer.weight_decay.mode=decoupled", f"regularizer.weight_decay.rate={case.config_value(0.01)}")
            yield self.warning("regularizer.weight_decay.mode", what, *fix)
