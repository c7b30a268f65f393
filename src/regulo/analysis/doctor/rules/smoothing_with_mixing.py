"""Targets that are softened twice."""

import statistics
from collections.abc import Iterator
from typing import Any

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.core.schedule import peak

MOST = 0.4


class SmoothingWithMixing(Rule):
    """Label smoothing together with techniques that mix images."""

    why = (
        "mixing already softens the targets, as smoothing does; together they take so much mass from the right class that "
        "predictions become underconfident, and such a network is a bad teacher for distillation"
    )
    reference = "Carratino et al. 2020, arXiv:2006.06049, section 3; Müller et al. 2019, arXiv:1906.02629, section 4"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        smoothing = case.technique("label_smoothing")
        if not smoothing or not peak(smoothing.epsilon) or not case.mixing:
            return
        epsilon = peak(smoothing.epsilon)
        mixed_share = statistics.fmean(peak(getattr(r, "p", 1)) * smaller_share(r) for r in case.mixing)  # one per batch
        other_mass = epsilon + (1 - epsilon) * mixed_share
        what = f"label smoothing of {epsilon:g} with {', '.join(r.name for r in case.mixing)}: on average "
        what += f"{other_mass:.0%} of a target's mass is not on its main class"
        make_finding = self.warning if other_mass > MOST else self.note
        yield make_finding("regularizer.label_smoothing", what, "~regularizer.label_smoothing")


def smaller_share(technique: Any) -> float:
    """E[min(λ, 1 − λ)] for λ ~ Beta(α, α), which is I_½(α + 1, α); ¼, as for α = 1, if λ has another distribution."""
    from scipy.special import betainc

    alpha = peak(getattr(technique, "alpha", 1))
    return float(betainc(alpha + 1, alpha, 0.5))
