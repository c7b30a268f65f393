"""Wrong labels on purpose."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Case, Finding, Rule


class LabelNoise(Rule):
    """Training labels that are replaced by random ones."""

    why = "it is an experiment about memorising: training accuracy then no longer says how well the task is learned"
    source = "Zhang et al. 2017, arXiv:1611.03530, section 2"

    def look(self, case: Case) -> Iterator[Finding]:
        noise = case.config.data.label_noise
        if noise:
            what = f"{noise:.0%} of the training labels are drawn at random"
            yield self.note("data.label_noise", what, "data.label_noise=0")
