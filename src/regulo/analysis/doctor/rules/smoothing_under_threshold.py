"""Label smoothing that the threshold of binary cross-entropy removes or distorts."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.core.schedule import peak


class SmoothingUnderThreshold(Rule):
    """Label smoothing together with a binary cross-entropy that has a threshold on the targets."""

    why = "the threshold makes each target 0 or 1: what smoothing gives to the other classes becomes 0 or, above it, 1"
    reference = "Wightman et al. 2021, arXiv:2110.00476, section 2.2; docstring of regularizers/bce.py"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        bce, smoothing = case.technique("bce"), case.technique("label_smoothing")
        if not bce or not smoothing or bce.threshold is None or not peak(smoothing.epsilon):
            return
        others = peak(smoothing.epsilon) / case.dataset_info.num_classes
        if others > bce.threshold:
            effect = f"above the threshold of {bce.threshold:g}: the target of every class of every image becomes 1"
        else:
            effect = f"not above the threshold of {bce.threshold:g}: it has no effect"
        what = f"smoothing gives each other class {others:g} of the target, {effect}"
        yield self.warning("regularizer.label_smoothing", what, "~regularizer.label_smoothing")
