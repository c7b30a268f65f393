"""Claim 15: too much regularization."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from regulo.analysis.claims.base import ClaimResult, ClaimRow, ClaimTrial, group_by
from regulo.analysis.claims.lab.comparison import Comparison, best_on_validation, contrast, divergence_note, means, rows
from regulo.analysis.claims.lab.experiments import short_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
RECIPE = "regularizer=[augment,cutmix,dropout,label_smoothing,weight_decay]"


class TooMuch(Comparison):
    """One recipe at several strengths."""

    number = 15
    statement = "Too much regularization hurts: at a fixed budget, beyond some strength test and training accuracy fall together"
    lesson = (
        "Techniques should be combined without over-regularizing. Not precise: the lesson names no symptom of it; "
        "one is a gap near zero with falling training accuracy. A longer run tolerates stronger regularization."
    )
    reference = (
        "the lesson; an example (n = 1): CIFAR-100 ResNet-18 at 24.4% error, with additional stochastic depth at 31.4%, "
        "in the tables of weiaicunzai/pytorch-cifar100"
    )
    method = (
        "One recipe (augmentation, CutMix, dropout, label smoothing, weight decay) for 30 epochs with its `strength` "
        "at 0 to 4 times the recipe's. The claim holds if the strength that is best on validation lies between 0 "
        "and 4, and at 4 test and clean training accuracy are significantly lower; it has a limit if the best is 0 (harm, "
        "but no sign of a right amount) or the loss of accuracy is not significant; it fails if 4 is best on validation or "
        "significantly better in test accuracy."
    )

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        strengths = (0.0, 1.0, 4.0) if quick else STRENGTHS
        plans = {
            s: [RECIPE, f"strength={s}"] if s else ["regularizer=none"] for s in strengths
        }  # 0 is the run without regularizers
        length = [] if quick else ["trainer.max_epochs=30"]
        return {f"{s:g}": short_run(quick, *length, *plan) for s, plan in plans.items()}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        best, top = best_on_validation(trials), list(group_by(trials, "condition"))[-1]
        table = [
            *rows(trials, "test/acc", " ×: test accuracy (%)"),
            *rows(trials, "train_clean/acc", " ×: clean training accuracy (%)"),
            *rows(trials, "gap/acc", " ×: gap (points)"),
        ]
        if best == top:
            return ClaimResult("fails", f"{top} × is the best on validation{divergence_note(trials)}", table)
        test, train = (contrast(trials, key, top, best) for key in ("test/acc", "train_clean/acc"))
        table.append(ClaimRow(f"{top} × − {best} ×: test accuracy (points)", test.differences, "+.2f"))
        evidence = (
            f"{best} × is best on validation; {top} × changes test accuracy by {test} points and clean training "
            f"accuracy by {train}{divergence_note(trials)}"
        )
        if test.above:
            return ClaimResult("fails", evidence, table)
        harm = test.below and train.below and best != "0"
        return ClaimResult("holds" if harm else "holds with a limit", evidence, table)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        axis = figure.subplots()
        for key, label, color in (
            ("train_clean/acc", "clean training images", "tab:blue"),
            ("test/acc", "test images", "tab:red"),
        ):
            averages = means(trials, key)
            axis.plot([float(s) for s in averages], list(averages.values()), "-", color=color, label=label)
            for s, group in group_by(trials, "condition").items():
                axis.plot([float(s)] * len(group), [100 * t[key] for t in group], "o", color=color, alpha=0.5, markersize=4)
        axis.set(xlabel="strength (× the recipe); dots: seeds", ylabel="accuracy (%)")
        axis.legend()
