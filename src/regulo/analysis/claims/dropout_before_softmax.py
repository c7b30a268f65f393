"""Claim 9: dropout of the logits."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, Numbers
from regulo.analysis.claims.lab.comparison import contrast, means, plot_dots, rows, trials_per_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, RATE, BATCH = 16, 0.1, 64


class DropoutBeforeSoftmax(Claim):
    """Dropout of the logits, compared with the same rate on the features."""

    number = 9
    statement = "Dropout right before the softmax spoils calibration"
    lesson = (
        "No dropout before the softmax. Not precise: we know no paper that measures it. A likely mechanism: a "
        "dropped logit becomes 0, which the loss punishes most if it was the largest, so that the network learns "
        "logits that are right *on average over masks*, while in inference, where nothing is dropped, they are different."
    )
    reference = "the lesson; measures: Guo et al. 2017, arXiv:1706.04599 (ECE)"
    method = (
        f"A small network (width {WIDTH}), 800 steps of SGD (one-cycle, rate {RATE}, batch {BATCH}), with dropout of "
        ".2 and .5 on the features before the last layer or on the logits, and with none. In inference on the test "
        "set, the claim holds if at both rates the logits' NLL and ECE are significantly above those of the features *and* "
        "of none; it fails if neither is significantly above at any rate; else it has a limit."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        steps, seeds = (300, 1) if quick else (800, 3)
        conditions = {"none": {"place": "none", "p": 0.0, "steps": steps}}
        for p in (0.5,) if quick else (0.2, 0.5):
            conditions |= {f"{place} {p:g}": {"place": place, "p": p, "steps": steps} for place in ("features", "logits")}
        return trials_per_seed(conditions, seeds)

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        from torch import nn

        from regulo.analysis.claims.lab.experiments import build_network, fit, run_inference

        plan = ["regularizer=[dropout]", f"regularizer.dropout.fc={trial['p'] if trial['place'] == 'features' else 0}"]
        model = build_network(trial["seed"], f"model.width={WIDTH}", *plan)
        if trial["place"] == "logits":
            model = nn.Sequential(model, nn.Dropout(trial["p"]))
        fit(model, trial["steps"], RATE, BATCH, trial["seed"], one_cycle=True)
        output = run_inference(model)
        confidence = output.logits.softmax(1).max(1).values.double().mean().item()
        scores = output.scores()
        return {**scores, "overconfidence": confidence - scores["acc"]}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        rates = sorted({t["p"] for t in trials if t["p"]})
        contrasts = [
            contrast(trials, key, f"logits {p:g}", other, tests=8)
            for p in rates
            for key in ("ece", "loss")
            for other in (f"features {p:g}", "none")
        ]
        table = [
            *rows(trials, "ece", ": ECE (%)"),
            *rows(trials, "loss", ": NLL", 1, ".3f"),
            *rows(trials, "acc", ": accuracy (%)"),
        ]
        table += rows(trials, "overconfidence", ": confidence − accuracy (points)", fmt="+.2f")
        ece, nll, overconfidence = (means(trials, key, f) for key, f in (("ece", 100), ("loss", 1), ("overconfidence", 100)))
        table.append(ClaimRow(f"logits − features at {rates[-1]:g}: ECE (points)", contrasts[-4].differences, "+.2f"))
        p = f"{rates[-1]:g}"
        evidence = (
            f"at p = {p}: ECE {ece[f'logits {p}']:.1f}% and NLL {nll[f'logits {p}']:.3f} with dropout of the logits, "
            f"{ece[f'features {p}']:.1f}% and {nll[f'features {p}']:.3f} of the features, {ece['none']:.1f}% and "
            f"{nll['none']:.3f} with none; confidence − accuracy {overconfidence[f'logits {p}']:+.1f}, "
            f"{overconfidence[f'features {p}']:+.1f}, {overconfidence['none']:+.1f} points"
        )
        above = [c.above for c in contrasts]
        return ClaimResult("holds" if all(above) else "holds with a limit" if any(above) else "fails", evidence, table)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        plot_dots(trials, "ece", "expected calibration error (%)", figure)
