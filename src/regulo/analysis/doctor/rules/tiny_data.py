"""Few training images without augmentation."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

MIN_IMAGES_PER_CLASS = 200


class TinyData(Rule):
    """Fewer than 200 images per class, without augmentation or mixing."""

    why = "a network memorizes so few images within a few epochs; augmentation is the cheapest remedy"
    reference = "Shorten & Khoshgoftaar 2019, Journal of Big Data 6:60; Steiner et al. 2021, arXiv:2106.10270, section 4"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        per_class = case.num_train / case.dataset_info.num_classes
        if per_class < MIN_IMAGES_PER_CLASS and not case.mixing and not any("augments" in r.tags for r in case.plan.regularizers):
            has_augment = "augment" in case.config.regularizer  # then the strength is 0
            fix = "strength=1" if has_augment else "+regularizer=augment"
            yield self.warning("regularizer", f"{per_class:.0f} training images per class, without augmentation or mixing", fix)
