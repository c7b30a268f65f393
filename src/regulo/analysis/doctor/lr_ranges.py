"""Learning rates that are in practical use, by optimizer: rough, and scaled to batches of 256 images."""

from dataclasses import dataclass
from typing import Any

REFERENCE = 256


@dataclass(frozen=True)
class LrRange:
    """The range of peak rates at batches of 256; for another batch it is multiplied by (batch / 256) ^ power."""

    low: float
    typical: float
    high: float
    fine_tuning: float
    """the highest rate for pretrained weights"""
    power: float
    """1: linear scaling (Goyal et al., 2017, arXiv:1706.02677); .5: the square root (Malladi et al., 2022, arXiv:2205.10287)"""

    def at(self, rate: float, batch: int) -> float:
        """A rate of this range for batches of so many images."""
        return rate * (batch / REFERENCE) ** self.power


LR_RANGES = {
    "sgd": LrRange(low=2e-3, typical=0.4, high=3.2, fine_tuning=0.4, power=1.0),
    "adamw": LrRange(low=1e-5, typical=2e-3, high=1.2e-2, fine_tuning=1e-3, power=0.5),
    "lamb": LrRange(low=1e-4, typical=4e-3, high=4e-2, fine_tuning=4e-3, power=0.5),
}


def lr_range(optimizer: Any) -> LrRange | None:
    """What is known of an optimizer. SGD's range is for a momentum of .9, with which steps are 1 / (1 − μ) = 10 times larger."""
    known = LR_RANGES.get(optimizer.name)
    if known is None or not hasattr(optimizer, "momentum"):
        return known
    factor = (1 - optimizer.momentum) / 0.1
    return LrRange(known.low * factor, known.typical * factor, known.high * factor, known.fine_tuning * factor, known.power)
