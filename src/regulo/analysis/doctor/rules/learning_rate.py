"""The learning rate against the batch size."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.analysis.doctor.lr_ranges import lr_range

UNNORMALISED = 0.1
"""without any normalisation, rates have to be this much lower: claim 4 measures it"""


class LearningRate(Rule):
    """A peak learning rate far outside what is practised for this optimizer and batch size."""

    why = "steps that are too large diverge or settle in a bad place, too small ones do not arrive before the run ends"
    reference = "Goyal et al. 2017, arXiv:1706.02677 (linear); Malladi et al. 2022, arXiv:2205.10287 (square root, Adam)"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        optim, known = case.config.optim, lr_range(case.config.optim)
        if known is None or case.pretrained:
            return
        factor = 1 if case.normalised else UNNORMALISED
        low, typical, high = (factor * known.at(rate, case.batch) for rate in (known.low, known.typical, known.high))
        if not low <= optim.lr <= high:
            side, without = ("above", "highest") if optim.lr > high else ("below", "lowest")
            bound = high if optim.lr > high else low
            what = f"{optim.name} at {optim.lr:g} with {case.batch} images per step" + (" and no normalisation" * (factor < 1))
            what += f": {max(optim.lr / bound, bound / optim.lr):.1f} times {side} the {without} rate in practice, {bound:.2g}"
            yield self.warning("optim.lr", what, f"optim.lr={typical:.2g}")
