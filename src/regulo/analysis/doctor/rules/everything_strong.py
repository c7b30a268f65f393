"""A whole recipe at a high strength."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase

HIGHEST, SEVERAL = 3.0, 3


class EverythingStrong(Rule):
    """A strength of three or more with a recipe of several techniques."""

    why = "recipes are tuned at strength 1; far above it the network does not even learn its training images"
    reference = "claim 15 of this project (regulo claims too_much); Touvron et al. 2022, arXiv:2204.07118, section 5"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        strength = case.config.run.strength
        if strength >= HIGHEST and len(case.plan.regularizers) >= SEVERAL:
            what = f"strength {strength:g} multiplies all {len(case.plan.regularizers)} techniques of the plan"
            yield self.warning("strength", what, "strength=1")
