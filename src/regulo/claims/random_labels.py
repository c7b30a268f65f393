"""Claim 8: memorisation."""

import statistics
from collections.abc import Sequence

from regulo.claims.base import Finding, Trial
from regulo.claims.lab.comparison import Comparison, rows, values

COMMON = [
    "data.label_noise=1",
    "data.train_images=2000",
    "data.clean_subset=2000",
    "model.width=32",
    "optim.schedule=cosine",
    "optim.lr=0.1",
]
KINDS = {
    "none": "none",
    "dropout": "[dropout]",
    "weight decay": "[weight_decay]",
    "label smoothing": "[label_smoothing]",
    "augmentation": "[augment]",
    "mixup": "[mixup]",
}


class RandomLabels(Comparison):
    """Labels that nothing explains."""

    number = 8
    seeds = 2
    statement = "A network can fit random labels: it memorises, so that a small training error says nothing about generalization"
    lesson = (
        "Networks can fit random labels; therefore they need regularization, and the gap between training and "
        "validation shows overfitting. Loose: the paper's point is also that explicit regularization is *neither "
        "necessary nor sufficient*: with it, networks still fit random labels."
    )
    source = "Zhang et al. 2017, arXiv:1611.03530, sections 2 and 3"
    method = (
        "2,000 images whose labels are drawn at random, the default network for 60 epochs, with no regularizer and "
        "with each of five. The claim is refuted if without one less than 99% of the training labels are fitted, or "
        "if the test accuracy is not that of chance (10 ± 3%)."
    )
    shown = ("train_clean/acc", "random training labels fitted (%)")

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        names = ("none", "augmentation") if quick else tuple(KINDS)
        return {name: [*COMMON, "trainer.max_epochs=60", f"regularizer={KINDS[name]}"] for name in names}

    def judge(self, trials: Sequence[Trial]) -> Finding:
        fitted, test = values(trials, "train_clean/acc"), values(trials, "test/acc")
        right = min(fitted["none"]) >= 99 and all(7 <= a <= 13 for a in test["none"])
        means = {k: statistics.fmean(v) for k, v in fitted.items()}
        still = [k for k, m in means.items() if k != "none" and m >= 99]
        table = [*rows(trials, "train_clean/acc", ": random labels fitted (%)"), *rows(trials, "test/acc", ": test accuracy (%)")]
        others = ", ".join(f"{k} {m:.0f}%" for k, m in means.items() if k != "none")
        number = (
            f"{means['none']:.1f}% of random labels fitted at a test accuracy of "
            f"{statistics.fmean(test['none']):.1f}%; with {others}"
        )
        if still:
            number += f": {' and '.join(still)} alone do{'es' * (len(still) == 1)} not prevent it"
        return Finding("holds" if right else "fails", number, "", table)
