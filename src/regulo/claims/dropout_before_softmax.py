"""Claim 9: dropout of the logits."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.claims.base import Claim, Finding, Numbers, Row, Trial, by, mean
from regulo.claims.lab.comparison import dots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class DropoutBeforeSoftmax(Claim):
    """The same rate on the features, and on the logits."""

    number = 9
    statement = "Dropout right before the softmax spoils calibration"
    lesson = (
        "No dropout before the softmax. Loose: the mechanism is that a dropped logit becomes 0, which the loss "
        "punishes most if it was the largest; the network learns to keep its logits small or to shift them, and "
        "inference, where nothing is dropped, sees other logits."
    )
    source = (
        "the lesson; for the effect of dropped logits: Kim et al. 2023, arXiv:2302.06112 (dropout just before the last layer)"
    )
    method = (
        "A small network, 1,200 steps, with dropout of .2 and .5 on the features before the last layer or on the "
        "logits, and with none. ECE and NLL of the test set in inference. The claim holds if both are worse on the "
        "logits than on the features at every rate, and fails if neither is at any."
    )

    def trials(self, quick: bool) -> list[Trial]:
        kinds = [("none", 0.0), *((place, p) for p in ((0.5,) if quick else (0.2, 0.5)) for place in ("features", "logits"))]
        steps, seeds = (300, 1) if quick else (1200, 3)
        return [
            Trial(
                f"{place}-{p}-{s}",
                {"condition": f"{place} {p:g}" if p else "none", "place": place, "p": p, "seed": s, "steps": steps},
            )
            for place, p in kinds
            for s in range(seeds)
        ]

    def measure(self, trial: Trial, folder: Path) -> Numbers:
        from torch import nn

        from regulo.claims.lab.experiments import evaluation, fit, network

        plan = ["regularizer=[dropout]", f"regularizer.dropout.fc={trial['p'] if trial['place'] == 'features' else 0}"]
        model = network(trial["seed"], "model.width=16", *plan)
        if trial["place"] == "logits":
            model = nn.Sequential(model, nn.Dropout(trial["p"]))
        fit(model, trial["steps"], 0.1, 64, trial["seed"], one_cycle=True)
        return dict(evaluation(model).scores())

    def judge(self, trials: Sequence[Trial]) -> Finding:
        groups = by(trials, "condition")
        rows = [Row(f"{c}: ECE (%)", [100 * t["ece"] for t in ts], ".2f") for c, ts in groups.items()]
        rows += [Row(f"{c}: NLL", [t["loss"] for t in ts], ".3f") for c, ts in groups.items()]
        rows += [Row(f"{c}: accuracy (%)", [100 * t["acc"] for t in ts], ".2f") for c, ts in groups.items()]
        rates = sorted({t["p"] for t in trials if t["p"]})
        worse = [
            mean(groups[f"logits {p:g}"], key) > mean(groups[f"features {p:g}"], key) for p in rates for key in ("ece", "loss")
        ]
        p = rates[-1]
        told = [
            f"{100 * mean(groups[f'{place} {p:g}'], 'ece'):.1f}%, NLL {mean(groups[f'{place} {p:g}'], 'loss'):.3f}"
            for place in ("logits", "features")
        ]
        number = (
            f"at p = {p:g}: ECE {told[0]} with dropout of the logits, {told[1]} of the features; none: "
            f"{100 * mean(groups['none'], 'ece'):.1f}%"
        )
        return Finding("holds" if all(worse) else "holds with a limit" if any(worse) else "fails", number, "", rows)

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        dots(trials, "ece", "expected calibration error (%)", figure)
