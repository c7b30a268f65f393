"""Ghost batches as large as the batch."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class IdleGhosts(Rule):
    """Ghost batch normalization with batches that are not split."""

    why = "a batch with fewer images than two chunks is normalized as a whole, by plain BatchNorm"
    reference = "Hoffer et al. 2017, arXiv:1705.08741, algorithm 1; the forward pass in regularizers/ghost_batch_norm.py"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        ghost, local_batch_size = case.technique("ghost_batch_norm"), case.local_batch_size
        if ghost and local_batch_size < 2 * ghost.size:
            what = f"chunks of {ghost.size} in batches of {local_batch_size} images: no batch is split"
            fix = (
                f"regularizer.ghost_batch_norm.size={local_batch_size // 2}"
                if local_batch_size >= 16
                else "~regularizer.ghost_batch_norm"
            )
            yield self.warning("regularizer.ghost_batch_norm.size", what, fix)
