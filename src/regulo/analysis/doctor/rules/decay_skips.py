"""Weight decay of parameters that should not decay."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.regularizers.weight_decay import ROLES

FIX = "regularizer.weight_decay.skip=[bias,norm,embedding]"


class DecaySkips(Rule):
    """Weight decay that reaches normalization scales, biases or embeddings."""

    why = "the function does not become simpler when they shrink: decay of a scale or bias only works against the data"
    reference = "He et al. 2019, arXiv:1812.01187, section 3.1 (no bias decay); Jia et al. 2018, arXiv:1807.11205, section 3"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        if not case.technique("weight_decay"):
            return
        progress = (0.0, 0.5, 1.0)  # a rate may be a ramp
        groups = [g for p in progress for g in case.plan.param_groups(case.model, p) if g.weight_decay]
        members = {m.name: m for g in groups for m in g.members}
        names = {role: [n for n, m in members.items() if has_role(m)] for role, has_role in ROLES.items()}
        for role, make_finding in (("norm", self.warning), ("bias", self.note), ("embedding", self.note)):
            others = [n for n in names[role] if role == "norm" or n not in names["norm"]]
            if others:
                what = f"{len(others)} parameters of the role {role} decay ({', '.join(others[:2])}{', …' * (len(others) > 2)})"
                yield make_finding("regularizer.weight_decay.skip", what, FIX)
