"""Which images each rank sees in each step: a pure function of (seed, epoch)."""

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

from regulo.data.base import images_per_step

SampleKey = tuple[int, int, int]
"""(epoch, index, copy): persistent workers learn the epoch from the key; `copy` counts earlier visits of the image"""

SampleOrder = Callable[[np.ndarray, int], np.ndarray]
"""from the shuffled indices (N,) of an epoch, and its number, to indices (N,) in the order of their visits"""


class EpochSampler(Sampler[int]):
    """A permutation of range(n) for each epoch, the same on all ranks. Lightning calls `set_epoch`."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed, self.epoch = n, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> np.ndarray:
        """The permutation (n,) of the epoch."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.n)


class TrainBatchSampler(Sampler[list[SampleKey]]):
    """Step s takes positions s·R·B to (s+1)·R·B of the permutation (B: batch size); rank r of R takes every R-th of them.

    `sequence` may reorder the permutation, and may visit an image twice. The last, incomplete step is left out (unless it is the
    only one); each epoch leaves out other images. `start` is the epoch at which a run begins or resumes, and the number of steps
    of this epoch that are already done.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        rank: int,
        world: int,
        sequence: SampleOrder = lambda indices, epoch: indices,
        start: tuple[int, int] = (0, 0),
    ) -> None:
        self.sampler = EpochSampler(n, seed)  # Lightning finds it by this name
        self.sampler.set_epoch(start[0])  # Lightning takes the first batches before it sets the epoch
        self.start = start
        self.sequence = sequence
        self.rank, self.world = rank, world
        self.images_per_step = images_per_step(batch_size, n, world)
        self.steps = n // self.images_per_step

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch = self.sampler.epoch
        indices = self.sequence(self.sampler.order(), epoch)
        copies = count_earlier(indices)  # arrays: a million images are no million objects
        start_epoch, start_step = self.start
        for step in range(start_step if epoch == start_epoch else 0, self.steps):
            place = slice(step * self.images_per_step, (step + 1) * self.images_per_step)
            own = (column[place][self.rank :: self.world].tolist() for column in (indices, copies))
            yield [(epoch, index, copy) for index, copy in zip(*own, strict=True)]


def count_earlier(indices: np.ndarray) -> np.ndarray:
    """How often each of the indices (N,) occurs before its own place."""
    if np.max(np.bincount(indices)) == 1:  # no technique visits an image twice
        return np.zeros(len(indices), np.int64)
    order = np.argsort(indices, kind="stable")
    _, starts, counts = np.unique(indices[order], return_index=True, return_counts=True)
    earlier = np.empty(len(indices), np.int64)
    earlier[order] = np.arange(len(indices)) - np.repeat(starts, counts)
    return earlier


class EvalBatchSampler(Sampler[list[SampleKey]]):
    """Every image exactly once over all ranks; all ranks have the same number of batches.

    There must be at least as many images as ranks. `limit` is the largest number of batches.
    """

    def __init__(self, n: int, batch_size: int, rank: int = 0, world: int = 1, limit: int | None = None) -> None:
        images_per_rank = -(-n // world)  # rounded up; some ranks may have one image less
        num_batches = min(-(-images_per_rank // batch_size), n // world)  # more would leave a rank with an empty batch
        indices = np.arange(n)[rank::world]
        self.batches = np.array_split(indices, num_batches)[:limit]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return ([(0, i, 0) for i in batch.tolist()] for batch in self.batches)
