"""A moving average over too many steps."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

LONGEST = 0.25


class EMAHalfLife(Rule):
    """A half-life of the averaged weights that is long compared with the run."""

    why = (
        "the average becomes the final weights, and weights from the run's first half, when little was learned, count much in it"
    )
    reference = "Tarvainen & Valpola 2017, arXiv:1703.01780; Busbridge et al. 2023, arXiv:2307.13813"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        ema = case.technique("ema")
        if ema and ema.half_life > LONGEST:
            share = 0.5 ** (0.5 / ema.half_life)
            what = f"with a half-life of {ema.half_life:g} of the run, {share:.0%} of the average is from the run's first half"
            yield self.warning("regularizer.ema.half_life", what, f"regularizer.ema.half_life={case.config_value(0.02)}")
