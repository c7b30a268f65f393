"""Binary cross-entropy under SGD."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.optim.base import AdamOptimizer


class BCEScale(Rule):
    """Binary cross-entropy with an optimizer whose steps depend on the size of the gradient."""

    why = "the mean over K classes makes gradients about K times smaller: Adam and LAMB normalize that away, but SGD hardly moves"
    reference = "Wightman et al. 2021, arXiv:2110.00476, section 2.2 (with LAMB); docstring of regularizers/bce.py"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.technique("bce") and not isinstance(case.config.optim, AdamOptimizer) and case.dataset_info.num_classes > 2:
            what = f"bce over {case.dataset_info.num_classes} classes under {case.config.optim.name}"
            what += "; optim=adamw and optim=lamb do not have this problem"
            yield self.warning("regularizer.bce", what, "~regularizer.bce")
