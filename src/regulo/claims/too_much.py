"""Claim 15: too much of it."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from regulo.claims.base import Finding, Trial, by
from regulo.claims.lab.comparison import Comparison, clearly_above, paired, rows, told, values
from regulo.claims.lab.experiments import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRENGTHS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
RECIPE = "regularizer=[augment,cutmix,dropout,label_smoothing,weight_decay]"


class TooMuch(Comparison):
    """One knob on a whole recipe."""

    number = 15
    statement = "Too much regularization hurts: past some strength, test accuracy falls and the network underfits"
    lesson = (
        "Techniques should be combined without over-regularizing. Loose: the lesson gives no sign by which to tell; "
        "a gap near zero with falling training accuracy is one."
    )
    source = (
        "the lesson; an example: CIFAR-100 ResNet-18 at 24.4% error, with stochastic depth on top at 31.4% "
        "(weiaicunzai/pytorch-cifar100)"
    )
    method = (
        "One recipe (augmentation, CutMix, dropout, label smoothing, weight decay) with its `strength` at 0 to 4 "
        "times what is written. The claim holds if test accuracy has its maximum inside and is clearly lower at 4 "
        "(paired by seed), with a clean training accuracy that falls; it fails if 4 is the best."
    )

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        some = (0.0, 1.0, 4.0) if quick else STRENGTHS
        return {f"{s:g}": short(quick, RECIPE, f"strength={s}") for s in some}

    def judge(self, trials: Sequence[Trial]) -> Finding:
        accuracy, train = values(trials, "test/acc"), values(trials, "train_clean/acc")
        labels = list(accuracy)
        best, top = max(labels, key=lambda c: statistics.fmean(accuracy[c])), labels[-1]
        loss = paired(trials, "test/acc", best, top)
        underfits = statistics.fmean(train[top]) < statistics.fmean(train[best])
        hurts = best != top and clearly_above(loss) and underfits
        table = [
            *rows(trials, "test/acc", " ×: test accuracy (%)"),
            *rows(trials, "train_clean/acc", " ×: clean training accuracy (%)"),
            *rows(trials, "gap/acc", " ×: gap (points)"),
        ]
        number = f"best at {best} × the recipe; {top} × costs {told(loss, '.2f')} points of test accuracy"
        return Finding("fails" if not hurts else "holds" if best != labels[0] else "holds with a limit", number, "", table)

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        axis = figure.subplots()
        groups = by(trials, "condition")
        for key, label in (("train_clean/acc", "clean training images"), ("test/acc", "test images")):
            means = [100 * statistics.fmean(t[key] for t in some) for some in groups.values()]
            axis.plot([float(s) for s in groups], means, "o-", label=label)
        axis.set(xlabel="strength (× the recipe)", ylabel="accuracy (%)")
        axis.legend()
