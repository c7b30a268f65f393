"""Classes of very different sizes."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.training.imbalance import MAX_RATIO, better_monitor, describe_imbalance, imbalance, remedies


class ImbalancedClasses(Rule):
    """The largest class has more than ten times the training images of the smallest, and nothing makes up for it."""

    why = (
        "a network that hardly ever predicts a rare class has a high accuracy and a low loss all the same: rare classes must "
        "count more in training, and the best epoch must be chosen by a score in which they count"
    )
    reference = "Menon et al. 2021, arXiv:2007.07314, section 2; Brodersen et al. 2010, ICPR, on balanced accuracy"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if imbalance(case.class_counts) <= MAX_RATIO:
            return
        what = describe_imbalance(case.class_counts, case.dataset_info.classes)
        options, monitor = remedies(case.config), better_monitor(case.config)
        if options:
            alternatives = f"; +regularizer={' or '.join(options)} makes rare classes count more"
            yield self.warning("regularizer", what + alternatives, f"+regularizer={options[-1]}", *filter(None, [monitor]))
        elif monitor:
            yield self.note("monitor", f"{what}, and the best epoch is chosen by {case.config.run.monitor}", monitor)
