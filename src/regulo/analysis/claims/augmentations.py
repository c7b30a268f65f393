"""Claim 12: augmentation, one at a time."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from regulo.analysis.claims.base import ClaimResult, ClaimRow, ClaimTrial, ClaimVerdict
from regulo.analysis.claims.lab.comparison import Comparison, best_on_validation, contrast, divergence_note, means, rows
from regulo.analysis.claims.lab.experiments import short_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OFF = ("regularizer.augment.crop=null", "regularizer.augment.flip=0")
KINDS = {
    "none": ("regularizer=none",),
    "crop": ("regularizer=[augment]", "regularizer.augment.flip=0"),
    "flip": ("regularizer=[augment]", "regularizer.augment.crop=null"),
    "jitter": ("regularizer=[augment]", *OFF, "regularizer.augment.jitter=0.4"),
    "rotation": ("regularizer=[augment]", *OFF, "regularizer.augment.rotate=15"),
    "RandAugment": ("regularizer=[rand_augment]",),
    "mixup": ("regularizer=[mixup]", "regularizer.mixup.p=1"),
    "CutMix": ("regularizer=[cutmix]", "regularizer.cutmix.p=1"),
}


class Augmentations(Comparison):
    """Each augmentation of the lesson's table, on the shipped data."""

    number = 12
    statement = "Each augmentation of the lesson's table shrinks the gap and raises test accuracy, here within 12 epochs"
    lesson = (
        "Random crop, flip, color jitter, rotation, Mixup, CutMix and RandAugment are recommended. Not precise: which of "
        "them helps depends on what the classes are invariant to, and on how long one trains; on centered gray images "
        "of clothes, only the data can tell. On one channel, jitter is brightness and contrast."
    )
    reference = "Shorten & Khoshgoftaar 2019, J. Big Data 6:60; arXiv:1710.09412; arXiv:1905.04899; arXiv:1909.13719"
    method = (
        "A small network for 12 epochs, with each augmentation alone and with none, the same seeds; the order of "
        "strong and weak ones is valid for that budget only. The claim holds if all are significantly above none in test "
        "accuracy (seven comparisons share the error) and shrink the gap, with a limit if some are; it fails if one is "
        "significantly below, and is undecided if none is significant."
    )

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        names = ("none", "flip", "CutMix") if quick else tuple(KINDS)
        return {name: short_run(quick, *KINDS[name]) for name in names}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        kinds = [k for k in means(trials, "test/acc") if k != "none"]
        gain = {k: contrast(trials, "test/acc", k, "none", tests=len(kinds)) for k in kinds}
        smaller_gap = [k for k in kinds if contrast(trials, "gap/acc", k, "none", tests=len(kinds)).below]
        helps, hurts = [k for k in kinds if gain[k].above], [k for k in kinds if gain[k].below]
        best = best_on_validation(trials, exclude=["none"])
        table = [*rows(trials, "test/acc", ": test accuracy (%)"), *rows(trials, "gap/acc", ": gap (points)")]
        table += [ClaimRow(f"{k} − none: test accuracy (points)", c.differences, "+.2f") for k, c in gain.items()]
        evidence = (
            f"{len(helps)} of {len(kinds)} significantly raise test accuracy ({', '.join(helps) or 'none'}), {len(hurts)} "
            f"lower it{' (' + ', '.join(hurts) + ')' if hurts else ''}, {len(smaller_gap)} shrink the gap; the best on "
            f"validation, {best}, gains {gain[best]} points{divergence_note(trials)}"
        )
        all_hold = len(helps) == len(smaller_gap) == len(kinds)
        verdict: ClaimVerdict = "holds" if all_hold else "fails" if hurts else "holds with a limit" if helps else "undecided"
        return ClaimResult(verdict, evidence, table)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        kinds = [k for k in means(trials, "test/acc") if k != "none"]
        axis: Any
        for axis, key, label in ((left, "test/acc", "test accuracy − none (points)"), (right, "gap/acc", "gap − none (points)")):
            for y, kind in enumerate(kinds):
                c = contrast(trials, key, kind, "none")
                axis.plot(c.differences, [y] * len(c.differences), "o", color="tab:blue", alpha=0.6)
                axis.plot([statistics.fmean(c.differences)] * 2, [y - 0.3, y + 0.3], color="tab:red", linewidth=2)
            axis.axvline(0, color="gray", linewidth=1)
            axis.set(yticks=range(len(kinds)), yticklabels=kinds, xlabel=label)
        left.invert_yaxis()
