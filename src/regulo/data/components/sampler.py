"""Which images each rank sees in each step, as a pure function of (seed, epoch)."""

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

from regulo.data.base import images_per_step

SampleKey = tuple[int, int, int]
"""(epoch, index, copy): the epoch travels with the index, so that persistent workers know it; `copy` counts earlier visits"""


SampleOrder = Callable[[np.ndarray], np.ndarray]
"""shuffled places (n,) of an epoch in, places (n,) in the order of their visits out"""


class EpochSampler(Sampler[int]):
    """A permutation of n images per epoch, the same on all ranks. Lightning calls `set_epoch`."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed, self.epoch = n, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.default_rng([self.seed, self.epoch]).permutation(self.n).tolist())


class TrainBatchSampler(Sampler[list[SampleKey]]):
    """Step s takes the places s·R·B to (s+1)·R·B of the permutation; rank r of R takes every R-th of them.

    `sequence` may rearrange the permutation, and visit an image twice. The last, incomplete step is left out (unless it is the
    only one): the next permutation leaves out other images. `begin` is the epoch in which a run goes on, and how many of its
    steps are behind it.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        rank: int,
        world: int,
        sequence: SampleOrder = lambda p: p,
        begin: tuple[int, int] = (0, 0),
    ) -> None:
        self.sampler = EpochSampler(n, seed)  # the name by which Lightning finds it
        self.sampler.set_epoch(begin[0])  # Lightning asks for the first batches before it says which epoch it is
        self.begin = begin
        self.sequence = sequence
        self.rank, self.world = rank, world
        self.step = images_per_step(batch_size, n, world)
        self.steps = n // self.step

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[SampleKey]]:
        visits: Counter[int] = Counter()
        keys = []
        for place in self.sequence(np.array(list(self.sampler))).tolist():
            keys.append((self.sampler.epoch, place, visits[place]))
            visits[place] += 1
        for s in range(self.begin[1] if self.sampler.epoch == self.begin[0] else 0, self.steps):
            yield keys[s * self.step : (s + 1) * self.step][self.rank :: self.world]


class EvalBatchSampler(Sampler[list[SampleKey]]):
    """Every image once over all ranks, none twice; all ranks have the same number of batches.

    There must be at least as many images as ranks. `limit` keeps only so many batches.
    """

    def __init__(self, n: int, batch_size: int, rank: int = 0, world: int = 1, limit: int | None = None) -> None:
        largest_share = -(-n // world)
        count = min(-(-largest_share // batch_size), n // world)  # or the smallest share would have an empty batch
        mine = np.arange(n)[rank::world]
        self.batches = [[(0, int(i), 0) for i in part] for part in np.array_split(mine, count)][:limit]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self.batches)
