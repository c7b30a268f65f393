"""Learning rates that are common in practice, by optimizer: rough values, for batches of 256 images."""

from dataclasses import dataclass
from typing import Any

REFERENCE_BATCH = 256


@dataclass(frozen=True)
class LrRange:
    """The range of peak rates for batches of 256 images; for another batch size multiply by (batch / 256) ^ power."""

    low: float
    typical: float
    high: float
    fine_tuning: float
    """the highest usual rate for pretrained weights"""
    power: float
    """1: linear scaling (Goyal et al., 2017, arXiv:1706.02677); .5: the square root (Malladi et al., 2022, arXiv:2205.10287)"""

    def scale_to_batch(self, rate: float, batch_size: int) -> float:
        """The rate for batches of this size that corresponds to `rate` for batches of 256."""
        return rate * (batch_size / REFERENCE_BATCH) ** self.power


LR_RANGES = {
    "sgd": LrRange(low=2e-3, typical=0.4, high=3.2, fine_tuning=0.4, power=1.0),
    "adamw": LrRange(low=1e-5, typical=2e-3, high=1.2e-2, fine_tuning=1e-3, power=0.5),
    "lamb": LrRange(low=1e-4, typical=4e-3, high=4e-2, fine_tuning=4e-3, power=0.5),
}


def lr_range(optimizer: Any) -> LrRange | None:
    """The range for an optimizer, or None if there is none.

    SGD's range is for a momentum μ of .9, which makes steps 1 / (1 − μ) = 10 times larger; for another μ it is scaled.
    """
    usual = LR_RANGES.get(optimizer.name)
    if usual is None or not hasattr(optimizer, "momentum"):
        return usual
    factor = (1 - optimizer.momentum) / 0.1
    return LrRange(usual.low * factor, usual.typical * factor, usual.high * factor, usual.fine_tuning * factor, usual.power)
