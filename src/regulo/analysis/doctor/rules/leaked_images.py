"""Images that are in two splits."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase


class LeakedImages(Rule):
    """Validation or test images whose content is also in training or validation. No override removes them."""

    why = "the network has seen them: their scores say nothing about new images; `regulo inspect` lists the files"
    reference = "Barz & Denzler 2020, arXiv:1902.00423"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if case.num_leaks:
            share = case.num_leaks / (case.num_val + case.num_test)
            what = f"{case.num_leaks:,} images of val and test ({share:.1%}) have the content of an image in train or val"
            yield self.warning("data", what)
