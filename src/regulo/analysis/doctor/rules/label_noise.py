"""Wrong labels on purpose."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class LabelNoise(Rule):
    """Training labels that are replaced by random ones."""

    why = "this is for experiments about memorization: training accuracy no longer shows how well the task is learned"
    reference = "Zhang et al. 2017, arXiv:1611.03530, section 2"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        noise = case.config.data.label_noise
        if noise:
            what = f"{noise:.0%} of the training labels are drawn at random"
            yield self.note("data.label_noise", what, "data.label_noise=0")
