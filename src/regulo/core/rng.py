"""Random generators that are pure functions of seed, rank, step and name.

So ranks and workers draw different numbers, two runs with one seed draw the same, and a resumed run draws the same as an
uninterrupted run.
"""

import zlib
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
