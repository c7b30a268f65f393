"""An average of weights that hardly change."""

import math
from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

LOW = 0.3


class SWAUnderAnnealing(Rule):
    """Stochastic weight averaging while the learning rate falls to zero."""

    why = "the average helps when weights move around a wide minimum at a high rate; annealed weights hardly move"
    reference = "Izmailov et al. 2018, arXiv:1803.05407, section 3"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        swa = case.technique("swa")
        if not swa or not swa.share or case.is_smoke_test:
            return
        factors = case.config.optim.lr_factors(case.steps)[-max(1, math.ceil(swa.share * case.steps)) :]
        if factors.mean() < LOW:
            what = f"the last {swa.share:.0%} of the run are averaged, at a mean rate of {factors.mean():.0%} of its peak"
            yield self.warning("optim.schedule", what, "optim.schedule=constant")
