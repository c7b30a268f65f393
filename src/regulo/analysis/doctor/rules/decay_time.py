"""The time scale of weight decay."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase
from regulo.core.schedule import peak
from regulo.optim.base import AdamOptimizer

SHORTEST, LONGEST = 0.5, 10.0


class DecayTime(Rule):
    """Weight decay whose time scale is less than half an epoch, or more than ten runs."""

    why = (
        "under decay, weights are an average over about the last 1 / (ηλ) steps: if these are less than about an epoch, images "
        "are forgotten before they are seen again; if they are far more than the run, nothing decays"
    )
    reference = "Wang & Aitchison 2024, arXiv:2405.13698, section 3"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        decay, optim = case.technique("weight_decay"), case.config.optim
        if not decay or not peak(decay.rate) or case.is_smoke_test or not optim.averages_weights:
            return
        if decay.mode == "l2" and isinstance(optim, AdamOptimizer):
            return  # this is no average: see l2_under_adam
        in_gradient = decay.mode == "l2"
        pull = peak(decay.rate) * optim.lr / (1 - getattr(optim, "momentum", 0.0) if in_gradient else 1)
        epochs = 1 / pull / case.steps_per_epoch

        def rate_for(epochs: float) -> float:
            return peak(decay.rate) / pull / (epochs * case.steps_per_epoch)

        scale = f"a decay of {peak(decay.rate):.2g} at a rate of {optim.lr:g} averages over"
        if epochs < SHORTEST:
            fix = f"regularizer.weight_decay.rate={case.config_value(rate_for(2.0))}"
            what = f"{scale} {1 / pull:.0f} steps, which are {epochs:.2g} epochs"
            yield self.warning("regularizer.weight_decay.rate", what, fix)
        elif epochs > LONGEST * case.epochs:
            rate = rate_for(case.epochs)
            fix = f"regularizer.weight_decay.rate={case.config_value(rate)}" if rate < 0.3 else "~regularizer.weight_decay"
            what = f"{scale} {epochs:.0f} epochs, and the run has {case.epochs}: it has almost no effect"
            yield self.note("regularizer.weight_decay.rate", what, fix)
