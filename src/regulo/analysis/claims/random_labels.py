"""Claim 8: memorization."""

from collections.abc import Sequence

from regulo.analysis.claims.base import ClaimResult, ClaimTrial
from regulo.analysis.claims.lab.comparison import Comparison, divergence_note, means, rows, values

IMAGES = 1000
KINDS = {
    "none": "none",
    "dropout": "[dropout]",
    "weight decay": "[weight_decay]",
    "label smoothing": "[label_smoothing]",
    "augmentation": "[augment]",
    "mixup": "[mixup]",
}


class RandomLabels(Comparison):
    """Training on random labels, with and without regularization."""

    number = 8
    seeds = 2
    statement = "A network can fit labels that carry no information: 99% and more in training, chance in test"
    lesson = (
        "Networks can fit random labels; therefore they need regularization, and the gap between training and "
        "validation shows overfitting. Not precise: the paper's point is also that explicit regularization is *neither "
        "necessary nor sufficient*: with it, networks still fit random labels."
    )
    reference = "Zhang et al. 2017, arXiv:1611.03530, sections 2 and 3"
    method = (
        f"{IMAGES:,} images whose labels are drawn at random; the default network (depth 8, width 32) for 40 epochs "
        "of SGD at rate .1, cosine; with no regularizer and with each of five. The claim is refuted if without one "
        "less than 99% of the training labels are fitted, or if the test accuracy is not that of chance (10 ± 3%)."
    )
    plot_metric = ("train_clean/acc", "random training labels fitted (%)")

    def conditions(self, quick: bool) -> dict[str, list[str]]:
        names = ("none", "augmentation") if quick else tuple(KINDS)
        images = IMAGES // 2 if quick else IMAGES
        common = ["data.label_noise=1", f"data.max_train_images={images}", f"data.clean_subset={images}", "data.batch_size=32"]
        common += ["trainer.max_epochs=40", "optim.schedule=cosine", "optim.lr=0.1"]
        return {name: [*common, f"regularizer={KINDS[name]}"] for name in names}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        train_accuracies, test = values(trials, "train_clean/acc"), means(trials, "test/acc")
        average = means(trials, "train_clean/acc")
        is_as_claimed = min(train_accuracies["none"]) >= 99 and 7 <= test["none"] <= 13
        table = [*rows(trials, "train_clean/acc", ": random labels fitted (%)"), *rows(trials, "test/acc", ": test accuracy (%)")]
        table += rows(trials, "test/loss", ": test NLL", 1, ".2f")
        others = ", ".join(f"{k} {m:.0f}%" for k, m in average.items() if k != "none")
        fitting = [k for k, m in average.items() if k != "none" and m >= 99]
        evidence = f"{average['none']:.1f}% of random labels fitted at a test accuracy of {test['none']:.1f}%; with {others}"
        evidence += f": {' and '.join(fitting)} alone do{'es' * (len(fitting) == 1)} not prevent it" if fitting else ""
        return ClaimResult("holds" if is_as_claimed else "fails", evidence + divergence_note(trials), table)
