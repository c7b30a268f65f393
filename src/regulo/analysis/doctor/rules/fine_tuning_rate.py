"""The learning rate of pretrained weights."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class FineTuningRate(Rule):
    """Pretrained weights with a learning rate for random ones."""

    why = "large steps destroy the pretrained features before the new head has learned anything"
    reference = "Kornblith et al. 2019, arXiv:1805.08974, appendix A.5; Li et al. 2020, arXiv:2002.11770, section 3"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        optim, usual = case.config.optim, case.config.optim.common_lr()
        probe = case.technique("linear_probe")
        if usual is None or not case.pretrained or (probe and probe.share == 1):  # then nothing but the new head is trained
            return
        high = usual.scale_to_batch(usual.fine_tuning, case.global_batch_size)
        if optim.lr > high:
            what = f"pretrained weights, {case.global_batch_size} images per step and {optim.name} at {optim.lr:g}"
            what += f"; rates up to {high:.2g} are usual"
            yield self.warning("optim.lr", what, f"optim.lr={high / 8:.2g}")
