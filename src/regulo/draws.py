"""Random draws that are a pure function of where they happen.

Ranks and workers therefore differ, two runs with one seed agree, and a resumed run draws what the unbroken one would have.
"""

import zlib

import numpy as np


def generator(seed: int, rank: int, step: int, name: str) -> np.random.Generator:
    """The generator of the technique `name` in training step `step` on process `rank`.

    It lives on the host: a technique draws a few numbers per batch, which then ride along with the kernels, so the device
    never has to be waited for.
    """
    return np.random.default_rng([seed, rank, step, zlib.crc32(name.encode())])


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A 32-bit seed for the augmentation of one image in one epoch, whichever worker or rank reads it."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1)[0])


def torch_seed(seed: int, rank: int) -> int:
    """A seed for torch's own generator (dropout and the like), different on every rank."""
    return int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
