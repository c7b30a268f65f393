"""Few images, as they are."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

FEW = 200


class TinyData(Rule):
    """Fewer than 200 images per class, and nothing that makes more of them."""

    why = "a network learns so few images by heart within epochs; new views of them are the cheapest remedy"
    reference = "Shorten & Khoshgoftaar 2019, Journal of Big Data 6:60; Steiner et al. 2021, arXiv:2106.10270, section 4"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        each = case.train / case.facts.num_classes
        if each < FEW and not case.mixing and not any("augments" in r.tags for r in case.plan.regularizers):
            there = "augment" in case.config.regularizer  # at a strength of 0
            fix = "strength=1" if there else "+regularizer=augment"
            yield self.warning("regularizer", f"{each:.0f} training images per class, without augmentation or mixing", fix)
