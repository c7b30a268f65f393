"""Early stopping under a schedule that improves most at the end."""

import math
from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

SHORTEST = 0.2


class Patience(Rule):
    """A short patience with a schedule whose rate falls to zero."""

    why = (
        "while the rate is high the validation loss moves up and down without a trend; most of the improvement comes when the "
        "rate falls, and with a short patience the run ends before that"
    )
    reference = "Prechelt 1998, Early stopping — but when?; Smith & Topin 2018, arXiv:1708.07120"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        stopping = case.technique("early_stopping")
        if stopping and case.config.optim.schedule != "constant" and stopping.patience < SHORTEST * case.epochs:
            what = f"a patience of {stopping.patience} epochs in a {case.config.optim.schedule} run of {case.epochs}"
            fix = f"regularizer.early_stopping.patience={math.ceil(case.epochs / 2)}"
            yield self.warning("regularizer.early_stopping.patience", what, fix)
