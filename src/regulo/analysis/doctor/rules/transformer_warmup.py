"""Warmup for transformers."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

FIRST = 0.5


class TransformerWarmup(Rule):
    """A transformer whose first steps use the full learning rate."""

    why = "Adam's estimates are unreliable in the first steps, and attention layers do not recover from large early steps"
    reference = "Liu et al. 2020, arXiv:1908.03265, section 3; Xiong et al. 2020, arXiv:2002.04745"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        optim = case.config.optim
        if not case.is_transformer or case.pretrained or case.is_smoke_test:
            return
        first = float(optim.lr_factors(case.steps)[0])
        if first > FIRST:
            what = f"the first of {case.steps} steps is at {first:.0%} of the highest rate"
            warmup = max(0.1, min(0.5, 10 / case.steps))
            yield self.warning("optim.warmup", what, f"optim.warmup={warmup:.2g}")
