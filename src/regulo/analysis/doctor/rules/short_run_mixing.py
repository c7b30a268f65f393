"""Mixing in a short run."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

MIN_EPOCHS = 10


class ShortRunMixing(Rule):
    """Mixed images in a run of fewer than ten epochs."""

    why = "mixed images make learning slower, and help only if a network sees the plain images many times"
    reference = "Wightman et al. 2021, arXiv:2110.00476, section 3 (weaker for shorter); Steiner et al. 2021, arXiv:2106.10270"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.mixing and case.epochs < MIN_EPOCHS and not case.is_smoke_test and not case.pretrained:
            names = [r.name for r in case.mixing]
            what = f"{' and '.join(names)} in a run of {case.epochs} epochs"
            yield self.warning("trainer.max_epochs", what, *(f"~regularizer.{name}" for name in names))
