"""Learning rates that are common in practice: rough values, by which the doctor judges those of a run."""

from dataclasses import dataclass, replace

REFERENCE_BATCH = 256


@dataclass(frozen=True)
class CommonLr:
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

    def multiply(self, factor: float) -> "CommonLr":
        """All rates times a factor."""
        rates = {name: factor * getattr(self, name) for name in ("low", "typical", "high", "fine_tuning")}
        return replace(self, **rates)
