"""Claim 10: dropout of convolutional maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, Numbers, group_by
from regulo.analysis.claims.lab.comparison import best_on_validation, contrast, plot_dots, rows, trials_per_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = (0.05, 0.1, 0.2)
WIDTH, RATE, BATCH = 16, 0.1, 64


class ConvDropout(Claim):
    """Dropout of whole channels, compared with dropout of single elements."""

    number = 10
    statement = "In convolutional layers, dropping whole channels beats dropping single elements"
    lesson = (
        "Conv layers take rates of .1 to .2 and should keep the spatial structure: whole channels are dropped, "
        "because the neighbors of a dropped pixel reveal it. Not precise: one rate is not one strength, since a "
        "channel is much more than an element; and networks with BatchNorm often gain nothing from either, because "
        "the variance that dropout adds disagrees with the running statistics."
    )
    reference = (
        "Tompson et al. 2015, arXiv:1411.4280, section 3.2; the objection: Li et al. 2019, arXiv:1801.05134; where "
        "to place it: Kim et al. 2023, arXiv:2302.06112"
    )
    method = (
        f"A small network (width {WIDTH}), 800 steps of SGD (one-cycle, rate {RATE}, batch {BATCH}), with rates of "
        ".05, .1 and .2 inside its residual blocks, of whole channels or of elements, and with none. For each unit "
        "the rate is chosen on validation; the claim holds if channels are then significantly above elements in test "
        "accuracy, fails if significantly below, and is undecided in between."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        steps, seeds = (300, 1) if quick else (800, 3)
        conditions = {"none": {"unit": "none", "p": 0.0, "steps": steps}}
        for p in RATES[1:2] if quick else RATES:
            conditions |= {f"{unit} {p:g}": {"unit": unit, "p": p, "steps": steps} for unit in ("channels", "elements")}
        return trials_per_seed(conditions, seeds)

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        from torch import nn

        from regulo.analysis.claims.lab.experiments import build_network, fit, run_inference
        from regulo.models.components.sites import find_sites

        model = build_network(trial["seed"], f"model.width={WIDTH}", "regularizer=none")
        if trial["p"]:
            for site in find_sites(model, "conv"):
                site.insert((nn.Dropout2d if trial["unit"] == "channels" else nn.Dropout)(trial["p"]))
        fit(model, trial["steps"], RATE, BATCH, trial["seed"], one_cycle=True)
        return {f"{split}/acc": run_inference(model, split).scores()["acc"] for split in ("train", "val", "test")}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        best = {unit: best_on_validation(trials, prefix=unit) for unit in ("channels", "elements")}
        gain = contrast(trials, "test/acc", best["channels"], best["elements"])
        over_none = contrast(trials, "test/acc", best["channels"], "none")
        table = rows(trials, "test/acc", ": test accuracy (%)")
        for condition, group in group_by(trials, "condition").items():
            gaps = [100 * (t["train/acc"] - t["test/acc"]) for t in group]
            table.append(ClaimRow(f"{condition}: gap (points)", gaps, ".2f"))
        table.append(ClaimRow(f"{best['channels']} − {best['elements']}: test accuracy (points)", gain.differences, "+.2f"))
        evidence = f"{best['channels']} against {best['elements']}: {gain} points of test accuracy; against none: {over_none}"
        return ClaimResult(gain.verdict, evidence, table)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        plot_dots(trials, "test/acc", "test accuracy (%)", figure)
