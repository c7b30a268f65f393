"""Random generators that are pure functions of seed, rank, step and name.

So ranks and workers draw different numbers, two runs with one seed draw the same, and a resumed run draws the same as an
uninterrupted run.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

ALL_RANKS = 2**31
"""takes the place of the rank where all processes must draw the same numbers"""


def make_rng(seed: int, rank: int, step: int, name: str) -> np.random.Generator:
    """The generator of the technique `name` in training step `step` on process `rank`.

    It is on the host: a technique draws a few numbers per batch, which are passed to the kernels as arguments, so nothing
    waits for the device.
    """
    return np.random.default_rng([seed, rank, step, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class StepContext:
    """The position of a run, which its random numbers and its ramps depend on."""

    seed: int
    rank: int = 0
    step: int = 0
    progress: float = 0.0  # share of the steps of the run that are done, in [0, 1)

    def rng(self, name: str) -> np.random.Generator:
        """The generator of the technique `name`, different on every rank."""
        return make_rng(self.seed, self.rank, self.step, name)

    def shared_rng(self, name: str) -> np.random.Generator:
        """The generator of the technique `name`, the same on every rank: for changes of the weights, which all ranks share."""
        return make_rng(self.seed, ALL_RANKS, self.step, name)


def epoch_rng(seed: int, epoch: int, name: str) -> np.random.Generator:
    """The generator of the technique `name` for the order of the images in an epoch, the same on every rank."""
    return np.random.default_rng([seed, epoch, zlib.crc32(name.encode())])


def sample_seed(seed: int, epoch: int, index: int, copy: int = 0) -> int:
    """A 32-bit seed for augmenting one image in one epoch (its `copy`-th visit). It does not depend on worker or rank."""
    return int(np.random.SeedSequence([seed, epoch, index, copy]).generate_state(1)[0])


def torch_seed(seed: int, rank: int, step: int) -> int:
    """A seed for torch's own generator (dropout and the like) in one training step, different on every rank."""
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0])


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's own generators of the host and of this device, the current one of its kind.

    `torch.manual_seed` does so for every kind of device, and for one that is not there it takes down the call stack, each time:
    on a machine without a GPU that is a millisecond in every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


# ---- random numbers of the images of a batch, in vectors

PHILOX_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
PHILOX_INCREMENTS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
PHILOX_ROUNDS = 10
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counter: Sequence[np.ndarray], key: tuple[int, int]) -> list[np.ndarray]:
    """Philox4x32-10 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3"): four words of 32 random bits.

    A counter is four words of 32 bits, a key two. Counters (four arrays of one shape) and results are uint64 below 2³². With
    one key, different counters give different results.
    """
    a, b, c, d = counter
    key_0, key_1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(PHILOX_ROUNDS):
        left, right = a * PHILOX_MULTIPLIERS[0], c * PHILOX_MULTIPLIERS[1]
        a, b, c, d = (right >> HALF) ^ b ^ key_0, right & LOW, (left >> HALF) ^ d ^ key_1, left & LOW
        key_0, key_1 = (key_0 + PHILOX_INCREMENTS[0]) & LOW, (key_1 + PHILOX_INCREMENTS[1]) & LOW
    return [a, b, c, d]


class ImageDraws:
    """The random numbers with which a technique changes the images of a batch: each image has a sequence of its own.

    The sequence is a pure function of (seed, name of the technique; epoch, index, copy). So it is the same in a batch of any
    size, on any rank, and in a run that was resumed. It is computed on the host, for all images at once: the same bits for every
    device.
    """

    def __init__(self, seed: int, name: str, keys: np.ndarray) -> None:
        """`keys` (B, 3): the epoch, index and copy of each image, each below 2³²."""
        self.key = (seed, zlib.crc32(name.encode()))
        self.columns = list(np.ascontiguousarray(keys.T).astype(np.uint64))
        self.blocks, self.rest = 0, np.empty((len(keys), 0))

    def __len__(self) -> int:
        """B."""
        return len(self.rest)

    def random(self, count: int = 1) -> np.ndarray:
        """The next `count` numbers of each image, uniform in [0, 1): (B, count), multiples of 2⁻³²."""
        if (missing := count - self.rest.shape[1]) > 0:
            first, self.blocks = self.blocks, self.blocks - -missing // 4
            numbers = np.arange(first, self.blocks, dtype=np.uint64)
            counter = np.broadcast_arrays(*(column[:, None] for column in self.columns), numbers)
            words = np.stack(philox(counter, self.key), axis=-1).reshape(len(self), -1)
            self.rest = np.concatenate([self.rest, words * 2.0**-32], axis=1)
        result, self.rest = self.rest[:, :count], self.rest[:, count:]
        return result

    def uniform(self, low: float, high: float, count: int = 1) -> np.ndarray:
        """The next numbers, uniform in [low, high): (B, count)."""
        return low + (high - low) * self.random(count)
