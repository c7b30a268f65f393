"""Random draws that are a pure function of where they happen.

Ranks and workers therefore differ, two runs with one seed agree, and a resumed run draws what the unbroken one would have.
"""

import zlib
from dataclasses import dataclass

import numpy as np

ALL_RANKS = 2**31
"""stands in for the rank where all processes must draw the same"""


def make_rng(seed: int, rank: int, step: int, name: str) -> np.random.Generator:
    """The generator of the technique `name` in training step `step` on process `rank`.

    It lives on the host: a technique draws a few numbers per batch, which then ride along with the kernels, so the device
    never has to be waited for.
    """
    return np.random.default_rng([seed, rank, step, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class StepContext:
    """Where a run is: what its draws and its ramps depend on."""

    seed: int
    rank: int = 0
    step: int = 0
    progress: float = 0.0  # share of the run's steps that are done, in [0, 1)

    def rng(self, name: str) -> np.random.Generator:
        """The generator of the technique `name`, different on every rank."""
        return make_rng(self.seed, self.rank, self.step, name)

    def shared_rng(self, name: str) -> np.random.Generator:
        """The generator of the technique `name`, the same on every rank: for what acts on the weights, which ranks share."""
        return make_rng(self.seed, ALL_RANKS, self.step, name)


def sample_seed(seed: int, epoch: int, index: int, copy: int = 0) -> int:
    """A 32-bit seed for the augmentation of one image in one epoch (its `copy`-th visit), whichever worker or rank reads it."""
    return int(np.random.SeedSequence([seed, epoch, index, copy]).generate_state(1)[0])


def torch_seed(seed: int, rank: int, step: int) -> int:
    """A seed for torch's own generator (dropout and the like) in one training step, different on every rank."""
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0])
