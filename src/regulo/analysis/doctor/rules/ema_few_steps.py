"""A moving average over very few steps."""

import math
from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

FEWEST, LONGEST = 5, 0.125


class EMAFewSteps(Rule):
    """A half-life of the averaged weights of less than five steps."""

    why = "an average over so few steps is almost the last state: it smooths nothing"
    reference = "arXiv:1703.01780, section 2; the formula in regularizers/ema.py"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        ema = case.technique("ema")
        if ema and not case.is_smoke_test and 0 < ema.half_life * case.steps < FEWEST:
            half_life = math.ceil(1000 * 1.1 * FEWEST / case.steps) / 1000
            fix = f"regularizer.ema.half_life={case.config_value(half_life)}" if half_life <= LONGEST else "~regularizer.ema"
            what = f"the half-life is {ema.half_life * case.steps:.1f} of {case.steps} steps"
            yield self.warning("regularizer.ema.half_life", what, fix)
