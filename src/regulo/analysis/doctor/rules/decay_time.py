"""How long weights remember under weight decay."""

from collections.abc import Iterator

from regulo.analysis.doctor.base import Rule, RuleFinding, RunCase, peak

SHORTEST, LONGEST = 0.5, 10.0


class DecayTime(Rule):
    """Weight decay that forgets within half an epoch, or not within ten runs."""

    why = (
        "weights under decay are an average of past steps over 1 / (ηλ) of them: below about an epoch they forget images before "
        "they come again, and far above the whole run nothing decays"
    )
    reference = "Wang & Aitchison 2024, arXiv:2405.13698, section 3"

    def check(self, case: RunCase) -> Iterator[RuleFinding]:
        decay, optim = case.technique("weight_decay"), case.config.optim
        if not decay or not peak(decay.rate) or case.tryout or optim.name not in ("sgd", "adamw"):
            return
        if decay.mode == "l2" and optim.name == "adamw":
            return  # not an average at all: l2_under_adam says so
        in_gradient = decay.mode == "l2"
        pull = peak(decay.rate) * optim.lr / (1 - getattr(optim, "momentum", 0.0) if in_gradient else 1)
        epochs = 1 / pull / case.steps_per_epoch

        def rate(epochs: float) -> float:
            return peak(decay.rate) / pull / (epochs * case.steps_per_epoch)

        told = f"a decay of {peak(decay.rate):.2g} at a rate of {optim.lr:g} forgets in"
        if epochs < SHORTEST:
            fix = f"regularizer.weight_decay.rate={case.written(rate(2.0))}"
            yield self.warning(
                "regularizer.weight_decay.rate", f"{told} {1 / pull:.0f} steps, which are {epochs:.2g} epochs", fix
            )
        elif epochs > LONGEST * case.epochs:
            wanted = rate(case.epochs)
            fix = f"regularizer.weight_decay.rate={case.written(wanted)}" if wanted < 0.3 else "~regularizer.weight_decay"
            what = f"{told} {epochs:.0f} epochs, and the run has {case.epochs}: it does next to nothing"
            yield self.note("regularizer.weight_decay.rate", what, fix)
