"""BatchNorm over very few images."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.models.components.norms import BATCH_NORM

FEWEST = 8


class SmallBatchNorm(Rule):
    """BatchNorm with statistics from fewer than eight images."""

    why = "mean and variance of so few images are noisy in training, and differ from the running statistics of inference"
    reference = "Wu & He 2018, arXiv:1803.08494, section 4.1 and figure 1"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if not case.has_layer(BATCH_NORM):
            return
        processes = case.world_size if case.config.trainer.sync_batchnorm else 1
        norm_batch_size = case.local_batch_size * processes
        ghost = case.technique("ghost_batch_norm")
        if ghost and ghost.size < FEWEST <= norm_batch_size:
            what = f"chunks of {ghost.size} images"
            yield self.warning(
                "regularizer.ghost_batch_norm.size", what, f"regularizer.ghost_batch_norm.size={min(norm_batch_size, 32)}"
            )
        elif norm_batch_size < FEWEST:
            add = [] if case.technique("norm") else ["+regularizer=norm"]
            remove = ["~regularizer.ghost_batch_norm"] if ghost else []
            what = f"BatchNorm sees {norm_batch_size} images at a time"
            yield self.warning("data.batch_size", what, *remove, *add, "regularizer.norm.kind=group")
