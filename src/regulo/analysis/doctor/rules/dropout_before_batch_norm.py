"""Dropout before BatchNorm."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.core.schedule import peak
from regulo.models.components.norms import BATCH_NORM


class DropoutBeforeBatchNorm(Rule):
    """Dropout of feature maps in a network with BatchNorm."""

    why = "BatchNorm learns the variance of maps with dropped channels; in inference nothing is dropped: the variance shifts"
    reference = "Li et al. 2019, arXiv:1801.05134, sections 3 and 4"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        dropout = case.technique("dropout")
        if dropout and peak(dropout.conv) and case.has_layer(BATCH_NORM):
            what = f"a share of {peak(dropout.conv):g} of the channels is dropped before layers with BatchNorm"
            yield self.warning("regularizer.dropout.conv", what, "regularizer.dropout.conv=0")
