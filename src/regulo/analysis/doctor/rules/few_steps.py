"""Very few steps."""

import math
from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

FEWEST = 100


class FewSteps(Rule):
    """A run of fewer than a hundred steps."""

    why = "learning depends on the number of updates, not of epochs"
    reference = "Hoffer et al. 2017, arXiv:1705.08741, section 4"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.is_smoke_test:
            what = f"at most {case.config.trainer.limit_batches} batches per epoch and evaluation: a test of the stages"
            yield self.note("trainer.limit_batches", what, "trainer.limit_batches=null")
        elif case.steps < FEWEST and not case.pretrained:
            what = f"{case.epochs} epochs of {case.steps_per_epoch} steps are {case.steps} updates"
            yield self.warning("trainer.max_epochs", what, f"trainer.max_epochs={math.ceil(2 * FEWEST / case.steps_per_epoch)}")
