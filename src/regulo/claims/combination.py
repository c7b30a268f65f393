"""Claim 14: techniques complement each other."""

import statistics
from collections.abc import Sequence

from regulo.claims.base import Finding, Row, Trial
from regulo.claims.lab.comparison import Comparison, clearly_above, paired, rows, told, values
from regulo.claims.lab.experiments import short

PARTS = {
    "none": "none",
    "weight decay": "[weight_decay]",
    "augmentation": "[augment]",
    "early stopping": "[early_stopping]",
    "all three": "[augment,weight_decay,early_stopping]",
}


class Combination(Comparison):
    """The lesson's combination against each of its parts alone."""

    number = 14
    statement = (
        "Techniques complement each other: convolutions + BatchNorm + decay + augmentation + early stopping beat each alone"
    )
    lesson = (
        "The lesson recommends to combine convolutions, BatchNorm, weight decay, augmentation and early stopping, "
        "because they act on different things. Loose: it does not say how much each adds to the others."
    )
    source = "the lesson; for photographs He et al. 2019, arXiv:1812.01187 (each addition measured)"
    method = (
        "The same convolutional network with BatchNorm for 15 epochs with none, each, and all of weight decay, "
        "augmentation and early stopping. The claim fails unless all three beat none, and holds without a limit if "
        "they beat the best single one in test accuracy (paired) and have a test NLL no higher."
    )

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        names = ("none", "augmentation", "all three") if quick else tuple(PARTS)
        return {name: short(quick, f"regularizer={PARTS[name]}") for name in names}

    def judge(self, trials: Sequence[Trial]) -> Finding:
        accuracy, nll = values(trials, "test/acc"), values(trials, "test/loss", 1)
        singles = [c for c in accuracy if c not in ("none", "all three")]
        best = max(singles, key=lambda c: statistics.fmean(accuracy[c]))
        over_none, over_best = (paired(trials, "test/acc", "all three", c) for c in ("none", best))
        calmer = statistics.fmean(nll["all three"]) <= min(statistics.fmean(nll[c]) for c in singles)
        table = [*rows(trials, "test/acc", ": test accuracy (%)"), *rows(trials, "test/loss", ": test NLL", 1, ".3f")]
        table += [*rows(trials, "gap/acc", ": gap (points)"), Row("all three − none (points)", over_none, "+.2f")]
        table.append(Row(f"all three − {best} (points)", over_best, "+.2f"))
        number = f"all three: {told(over_none)} points over none, {told(over_best)} over the best single one ({best})"
        verdict = (
            "fails" if not clearly_above(over_none) else "holds" if clearly_above(over_best) and calmer else "holds with a limit"
        )
        return Finding(verdict, number, "", table)  # type: ignore[arg-type]
