"""What the validation images can tell apart."""

import math
from collections.abc import Iterator
from pathlib import Path

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

DISAGREEMENT = 0.1
"""share of the images on which exactly one of two good networks is right, about as measured on the shipped data"""
UNSAID = 0.03
"""the difference that should be resolved where nobody said which"""


class ValidationSize(Rule):
    """Too few validation images to resolve the wanted difference of accuracies."""

    why = (
        f"if two runs disagree on {DISAGREEMENT:.0%} of n images, chance alone makes their accuracies differ by "
        f"√({DISAGREEMENT:g} / n), and twice that is not surprising"
    )
    reference = "McNemar 1947; Dietterich 1998, Neural Computation 10:1895, section 3.1"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        wanted = case.difference or UNSAID
        needed = math.ceil(DISAGREEMENT * (2 / wanted) ** 2)
        if case.val >= needed or case.tryout:
            return
        resolved = 2 * math.sqrt(DISAGREEMENT / case.val)
        what = f"{case.val} validation images resolve differences from {100 * resolved:.1f} points on; "
        what += f"{100 * wanted:g} points want {needed}. Seeds help, too: regulo ablate pairs them"
        tell = self.warning if case.difference else self.note
        yield tell("data.val_fraction" if self.carved(case) else "data", what, *self.fix(case, needed))

    @staticmethod
    def carved(case: RunCase) -> bool:
        """Whether a share of the training images is the validation set."""
        folder = Path(case.config.data.root or "")
        own = any((folder / name).is_dir() for name in ("val", "valid", "validation"))
        return hasattr(case.config.data, "val_fraction") and not own

    def fix(self, case: RunCase, needed: int) -> list[str]:
        """A larger share, if there are enough images."""
        share = 1.05 * getattr(case.config.data, "val_fraction", 0.0) * needed / case.val
        return [f"data.val_fraction={math.ceil(1000 * share) / 1000}"] if self.carved(case) and share < 0.4 else []
