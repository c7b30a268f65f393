"""The differences that the validation images can resolve."""

import math
from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.core.paths import expand_path
from regulo.data.components.split_folders import split_of

DISAGREEMENT = 0.1
"""share of the images on which exactly one of two good networks is right; about what the shipped data show"""
DEFAULT_DIFFERENCE = 0.03
"""the difference in accuracy to resolve if the user names none"""


class ValidationSize(Rule):
    """Too few validation images to resolve the difference in accuracy that matters."""

    why = (
        f"if two runs disagree on {DISAGREEMENT:.0%} of n images, their accuracies differ by chance with a standard "
        f"deviation of √({DISAGREEMENT:g} / n), and twice that is not surprising"
    )
    reference = "McNemar 1947; Dietterich 1998, Neural Computation 10:1895, section 3.1"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        difference = case.difference or DEFAULT_DIFFERENCE
        minimum = math.ceil(DISAGREEMENT * (2 / difference) ** 2)
        if case.num_val >= minimum or case.is_smoke_test:
            return
        resolution = 2 * math.sqrt(DISAGREEMENT / case.num_val)
        what = f"{case.num_val} validation images resolve differences of {100 * resolution:.1f} points or more; "
        what += f"{100 * difference:g} points need {minimum}. More seeds help, too: regulo ablate pairs them"
        make_finding = self.warning if case.difference else self.note
        yield make_finding("data.val_fraction" if self.has_val_fraction(case) else "data", what, *self.fix(case, minimum))

    @staticmethod
    def has_val_fraction(case: RunCase) -> bool:
        """Whether the validation set is split off the training images."""
        root = case.config.data.root
        folder = expand_path(root) if root else None
        has_val_folder = folder and folder.is_dir() and any(p.is_dir() and split_of(p.name) == "val" for p in folder.iterdir())
        return hasattr(case.config.data, "val_fraction") and not has_val_folder

    def fix(self, case: RunCase, minimum: int) -> list[str]:
        """A larger validation share, if that is less than 40% of the images."""
        share = 1.05 * getattr(case.config.data, "val_fraction", 0.0) * minimum / case.num_val
        return [f"data.val_fraction={math.ceil(1000 * share) / 1000}"] if self.has_val_fraction(case) and share < 0.4 else []
