"""Techniques that lower confidence twice."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.core.schedule import peak

FIELDS = {"label_smoothing": "epsilon", "confidence_penalty": "beta", "focal_loss": "gamma"}


class TwoSofteners(Rule):
    """More than one of label smoothing, confidence penalty and focal loss."""

    why = "each lowers the confidence of predictions; smoothing and the penalty are one KL divergence in its two directions"
    reference = "Pereyra et al. 2017, arXiv:1701.06548, section 3; Mukhoti et al. 2020, arXiv:2002.09437, section 4"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        names = [name for name, field in FIELDS.items() if (r := case.technique(name)) and peak(getattr(r, field))]
        if len(names) > 1:
            what = f"{' and '.join(names)} act together, and all lower confidence"
            yield self.note(f"regularizer.{names[1]}", what, *(f"~regularizer.{name}" for name in names[1:]))
