"""BatchNorm over a handful of images."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.models.components.norms import BATCH_NORM

FEWEST = 8


class SmallBatchNorm(Rule):
    """BatchNorm whose statistics are of fewer than eight images."""

    why = "mean and variance of so few images are noisy in training and differ from the running ones that inference uses"
    reference = "Wu & He 2018, arXiv:1803.08494, section 4.1 and figure 1"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if not case.has(BATCH_NORM):
            return
        shared = case.config.trainer.sync_batchnorm
        seen = case.batch if shared else case.batch // case.devices
        ghost = case.technique("ghost_batch_norm")
        if ghost and ghost.size < FEWEST <= seen:
            what = f"chunks of {ghost.size} images"
            yield self.warning("regularizer.ghost_batch_norm.size", what, f"regularizer.ghost_batch_norm.size={min(seen, 32)}")
        elif seen < FEWEST:
            add = [] if case.technique("norm") else ["+regularizer=norm"]
            take = ["~regularizer.ghost_batch_norm"] if ghost else []
            what = f"BatchNorm sees {seen} images at a time"
            yield self.warning("data.batch_size", what, *take, *add, "regularizer.norm.kind=group")
