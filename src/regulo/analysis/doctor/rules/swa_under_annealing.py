"""An average of weights that no longer move."""

import math
from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

LOW = 0.3


class SWAUnderAnnealing(Rule):
    """Stochastic weight averaging while the rate goes to zero."""

    why = "the average gains from weights that wander around a wide minimum at a high rate; annealed weights stand still"
    reference = "Izmailov et al. 2018, arXiv:1803.05407, section 3"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        swa = case.technique("swa")
        if not swa or not swa.share or case.tryout:
            return
        last = case.config.optim.lr_factors(case.steps)[-max(1, math.ceil(swa.share * case.steps)) :]
        if last.mean() < LOW:
            what = f"the last {swa.share:.0%} of the run are averaged, at a mean rate of {last.mean():.0%} of its peak"
            yield self.warning("optim.schedule", what, "optim.schedule=constant")
