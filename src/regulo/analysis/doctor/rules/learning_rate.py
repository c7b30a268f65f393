"""The learning rate for the batch size."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

FACTOR_WITHOUT_NORM = 0.1
"""without normalization, rates must be lower by this factor: claim 4 measures it"""


class LearningRate(Rule):
    """A peak learning rate far outside the usual range for this optimizer and batch size."""

    why = "too large steps diverge or end in a bad minimum; with too small steps, training does not converge before the run ends"
    reference = "Goyal et al. 2017, arXiv:1706.02677 (linear); Malladi et al. 2022, arXiv:2205.10287 (square root, Adam)"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        optim, usual = case.config.optim, case.config.optim.common_lr()
        if usual is None or case.pretrained:
            return
        factor = 1 if case.has_norm else FACTOR_WITHOUT_NORM
        rates = (usual.low, usual.typical, usual.high)
        low, typical, high = (factor * usual.scale_to_batch(rate, case.global_batch_size) for rate in rates)
        if not low <= optim.lr <= high:
            side, extreme = ("above", "highest") if optim.lr > high else ("below", "lowest")
            bound = high if optim.lr > high else low
            what = f"{optim.name} at {optim.lr:g} with {case.global_batch_size} images per step" + (
                " and no normalization" * (factor < 1)
            )
            what += f": {max(optim.lr / bound, bound / optim.lr):.1f} times {side} the {extreme} usual rate, {bound:.2g}"
            yield self.warning("optim.lr", what, f"optim.lr={typical:.2g}")
