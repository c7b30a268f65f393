"""Binary cross-entropy with a monitor that measures another loss."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class BCEMonitor(Rule):
    """Binary cross-entropy while the best epoch is chosen by the loss of the softmax."""

    why = (
        "bce trains K separate binary classifiers; their logits are not scaled for a softmax, whose loss then picks a wrong epoch"
    )
    reference = "docstring of regularizers/bce.py"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.technique("bce") and case.plan.keeps_best and case.config.run.monitor == "val/loss":
            yield self.note("monitor", "the best epoch of a run with bce is chosen by val/loss", "monitor=val/acc")
