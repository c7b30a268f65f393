"""Ghost batches as large as the batch."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class IdleGhosts(Rule):
    """Ghost batch normalisation in batches that are not cut."""

    why = "a batch that does not hold two chunks is normalised as a whole, by plain BatchNorm"
    reference = "Hoffer et al. 2017, arXiv:1705.08741, algorithm 1; the forward pass in regularizers/ghost_batch_norm.py"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        ghost, seen = case.technique("ghost_batch_norm"), case.batch // case.devices
        if ghost and seen < 2 * ghost.size:
            what = f"chunks of {ghost.size} in batches of {seen} images: nothing is cut"
            fix = f"regularizer.ghost_batch_norm.size={seen // 2}" if seen >= 16 else "~regularizer.ghost_batch_norm"
            yield self.warning("regularizer.ghost_batch_norm.size", what, fix)
