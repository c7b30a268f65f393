"""Targets that are softened twice."""

import statistics
from collections.abc import Iterator
from typing import Any

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase, peak

MOST = 0.4


class SmoothingWithMixing(Rule):
    """Label smoothing beside mixup and its kin."""

    why = (
        "mixing already softens the targets and acts as smoothing; together they take so much of the mass from the right class "
        "that answers become underconfident, and such a network teaches others badly (distillation)"
    )
    reference = "Carratino et al. 2020, arXiv:2006.06049, section 3; Müller et al. 2019, arXiv:1906.02629, section 4"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        smoothing = case.technique("label_smoothing")
        if not smoothing or not peak(smoothing.epsilon) or not case.mixing:
            return
        epsilon = peak(smoothing.epsilon)
        mixed = statistics.fmean(peak(getattr(r, "p", 1)) * smaller_share(r) for r in case.mixing)  # one is drawn per batch
        away = epsilon + (1 - epsilon) * mixed
        what = f"label smoothing of {epsilon:g} beside {', '.join(r.name for r in case.mixing)}: {away:.0%} of a target's mass"
        what += " lies on average beside its main class"
        tell = self.warning if away > MOST else self.note
        yield tell("regularizer.label_smoothing", what, "~regularizer.label_smoothing")


def smaller_share(technique: Any) -> float:
    """E[min(λ, 1 − λ)] for λ ~ Beta(α, α), which is I_½(α + 1, α); ¼, as for α = 1, where λ is drawn otherwise."""
    from scipy.special import betainc

    alpha = peak(getattr(technique, "alpha", 1))
    return float(betainc(alpha + 1, alpha, 0.5))
