"""Claim 14: techniques complement each other."""

from collections.abc import Sequence

from regulo.analysis.claims.base import ClaimResult, ClaimRow, ClaimTrial, ClaimVerdict
from regulo.analysis.claims.lab.comparison import Comparison, best_on_validation, contrast, divergence_note, rows
from regulo.analysis.claims.lab.experiments import short_run

PARTS = {
    "none": "none",
    "weight decay": "[weight_decay]",
    "augmentation": "[augment]",
    "early stopping": "[early_stopping]",
    "all three": "[augment,weight_decay,early_stopping]",
}


class Combination(Comparison):
    """The lesson's combination, compared with each of its parts alone."""

    number = 14
    statement = (
        "Techniques complement each other: on a convolutional network with BatchNorm, decay + augmentation + early "
        "stopping beat each alone and none"
    )
    lesson = (
        "The lesson recommends to combine convolutions, BatchNorm, weight decay, augmentation and early stopping, "
        "because they act on different things. Not precise: it does not say how much each adds to the others. "
        "(Claims 4 to 6 test what BatchNorm does; convolutions are not tested.)"
    )
    reference = "the lesson; for photographs He et al. 2019, arXiv:1812.01187 (each addition measured)"
    method = (
        "A small network (width 16) for up to 30 epochs with none, each alone, and all three, at the strengths of their "
        "YAML files. The claim fails unless all three are significantly above none in test accuracy; it holds if they are also "
        "significantly above the single one that is best on validation, else it has a limit."
    )

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        names = ("none", "augmentation", "all three") if quick else tuple(PARTS)
        length = [] if quick else ["trainer.max_epochs=30"]
        return {n: short_run(quick, *length, f"regularizer={PARTS[n]}") for n in names}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        best = best_on_validation(trials, exclude=["none", "all three"])
        over_none, over_best = (contrast(trials, "test/acc", "all three", c, tests=2) for c in ("none", best))
        nll = contrast(trials, "test/loss", "all three", best, factor=1)
        table = [*rows(trials, "test/acc", ": test accuracy (%)"), *rows(trials, "test/loss", ": test NLL", 1, ".3f")]
        table += [*rows(trials, "gap/acc", ": gap (points)"), *rows(trials, "epochs", ": epochs", 1, ".1f")]
        table.append(ClaimRow("all three − none: test accuracy (points)", over_none.differences, "+.2f"))
        table.append(ClaimRow(f"all three − {best}: test accuracy (points)", over_best.differences, "+.2f"))
        evidence = (
            f"all three: {over_none} points over none, {over_best} over the single one that is best on validation "
            f"({best}), {nll.mean:+.3f} nats{divergence_note(trials)}"
        )
        verdict: ClaimVerdict = "fails" if not over_none.above else "holds" if over_best.above else "holds with a limit"
        return ClaimResult(verdict, evidence, table)
