"""Binary cross-entropy under SGD."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class BCEScale(Rule):
    """Binary cross-entropy with an optimizer that feels the size of gradients."""

    why = "the mean over K classes makes gradients about K times smaller: Adam and LAMB do not notice, and SGD hardly moves"
    reference = "Wightman et al. 2021, arXiv:2110.00476, section 2.2 (with LAMB); docstring of regularizers/bce.py"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.technique("bce") and case.config.optim.name == "sgd" and case.facts.num_classes > 2:
            what = f"bce over {case.facts.num_classes} classes under sgd; optim=adamw or optim=lamb would do"
            yield self.warning("regularizer.bce", what, "~regularizer.bce")
