"""A low learning rate for early layers with random weights."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class LayerDecayFromScratch(Rule):
    """Layer-wise learning-rate decay without pretrained weights."""

    why = "it preserves pretrained early layers; early layers with random weights stay almost random"
    reference = "Howard & Ruder 2018, arXiv:1801.06146, section 3.2; Bao et al. 2022, arXiv:2106.08254, appendix"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        decay = case.technique("layer_decay")
        if decay and decay.decay < 1 and not case.pretrained:
            what = f"the rate falls by {decay.decay:g} from block to block, and the weights are random"
            yield self.warning("regularizer.layer_decay", what, "~regularizer.layer_decay")
