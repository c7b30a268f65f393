"""The learning rate of pretrained weights."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.analysis.doctor.lr_ranges import lr_range


class FineTuningRate(Rule):
    """Pretrained weights under a learning rate that was made for random ones."""

    why = "large steps destroy what the weights know before the new head has learned anything"
    reference = "Kornblith et al. 2019, arXiv:1805.08974, appendix A.5; Li et al. 2020, arXiv:2002.11770, section 3"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        optim, known = case.config.optim, lr_range(case.config.optim)
        if known and case.pretrained and optim.lr > known.at(known.fine_tuning, case.batch):
            high = known.at(known.fine_tuning, case.batch)
            what = f"pretrained weights, {case.batch} images per step and {optim.name} at {optim.lr:g}; up to {high:.2g} is usual"
            yield self.warning("optim.lr", what, f"optim.lr={high / 8:.2g}")
