"""A monitor that speaks another language than the loss."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class BCEMonitor(Rule):
    """Binary cross-entropy whose best epoch is chosen by the softmax's loss."""

    why = "logits that were trained as K separate questions are not scaled for the softmax, whose loss then misleads the choice"
    reference = "docstring of regularizers/bce.py"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.technique("bce") and case.plan.keeps_best and case.config.run.monitor == "val/loss":
            yield self.note("monitor", "the best epoch of a run with bce is chosen by val/loss", "monitor=val/acc")
