"""Weight decay of what has no weight."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.regularizers.weight_decay import ROLES

MENDED = "regularizer.weight_decay.skip=[bias,norm,embedding]"


class DecaySkips(Rule):
    """Weight decay that reaches normalisation scales, biases or embeddings."""

    why = "they do not make the function simpler when they shrink: a decayed scale or bias only fights what the data ask for"
    reference = "He et al. 2019, arXiv:1812.01187, section 3.1 (no bias decay); Jia et al. 2018, arXiv:1807.11205, section 3"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if not case.technique("weight_decay"):
            return
        progress = (0.0, 0.5, 1.0)  # a rate may be a ramp
        groups = [g for p in progress for g in case.plan.param_groups(case.model, p) if g.weight_decay]
        decayed = {m.name: m for g in groups for m in g.members}
        names = {role: [n for n, m in decayed.items() if is_one(m)] for role, is_one in ROLES.items()}
        for role, tell in (("norm", self.warning), ("bias", self.note), ("embedding", self.note)):
            others = [n for n in names[role] if role == "norm" or n not in names["norm"]]
            if others:
                what = f"{len(others)} parameters of the role {role} decay ({', '.join(others[:2])}{', …' * (len(others) > 2)})"
                yield tell("regularizer.weight_decay.skip", what, MENDED)
