"""Claim 12: augmentation, one at a time."""

from collections.abc import Sequence

from regulo.claims.base import Finding, Row, Trial
from regulo.claims.lab.comparison import Comparison, clearly_above, paired, rows, told
from regulo.claims.lab.experiments import short

OFF = ["regularizer.augment.crop=null", "regularizer.augment.flip=0"]
KINDS = {
    "none": ["regularizer=none"],
    "crop": ["regularizer=[augment]", "regularizer.augment.flip=0"],
    "flip": ["regularizer=[augment]", "regularizer.augment.crop=null"],
    "jitter": ["regularizer=[augment]", *OFF, "regularizer.augment.jitter=0.4"],
    "rotation": ["regularizer=[augment]", *OFF, "regularizer.augment.rotate=15"],
    "RandAugment": ["regularizer=[rand_augment]"],
    "mixup": ["regularizer=[mixup]", "regularizer.mixup.p=1"],
    "CutMix": ["regularizer=[cutmix]", "regularizer.cutmix.p=1"],
}


class Augmentations(Comparison):
    """Each line of the lesson's table on the shipped data."""

    number = 12
    statement = "Each augmentation of the lesson's table shrinks the gap and raises test accuracy"
    lesson = (
        "Random crop, flip, colour jitter, rotation, Mixup, CutMix and RandAugment are recommended. Loose: which of "
        "them helps depends on what the classes are invariant to; on centred grey images of clothes, nothing but the "
        "data can tell."
    )
    source = "Shorten & Khoshgoftaar 2019, J. Big Data 6:60; arXiv:1710.09412; arXiv:1905.04899; arXiv:1909.13719"
    method = (
        "A small network for 15 epochs, with each augmentation alone and with none, the same seeds. A technique "
        "helps if the mean of its paired difference in test accuracy lies above 0 by its standard error; the claim "
        "holds if all do, with a limit if some, and fails if none does."
    )

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        names = ("none", "flip", "CutMix") if quick else tuple(KINDS)
        return {name: short(quick, *KINDS[name]) for name in names}

    def judge(self, trials: Sequence[Trial]) -> Finding:
        kinds = [k for k in dict.fromkeys(t["condition"] for t in trials) if k != "none"]
        gain = {k: paired(trials, "test/acc", k, "none") for k in kinds}
        helps = [k for k in kinds if clearly_above(gain[k])]
        smaller = [k for k in kinds if clearly_above([-d for d in paired(trials, "gap/acc", k, "none")])]
        table = [*rows(trials, "test/acc", ": test accuracy (%)"), *rows(trials, "gap/acc", ": gap (points)")]
        table += [Row(f"{k} − none (points)", d, "+.2f") for k, d in gain.items()]
        best = max(kinds, key=lambda k: sum(gain[k]))
        number = (
            f"{len(helps)} of {len(kinds)} raise test accuracy ({', '.join(helps) or 'none'}) and {len(smaller)} "
            f"shrink the gap; most does {best}: {told(gain[best])} points"
        )
        verdict = "holds" if len(helps) == len(smaller) == len(kinds) else "holds with a limit" if helps else "fails"
        return Finding(verdict, number, "", table)  # type: ignore[arg-type]
