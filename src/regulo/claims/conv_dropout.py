"""Claim 10: dropout of convolutional maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.claims.base import Claim, Finding, Numbers, Row, Trial, by
from regulo.claims.lab.comparison import clearly_above, dots, paired, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ConvDropout(Claim):
    """Whole channels, or single elements."""

    number = 10
    statement = "In convolutional layers, dropout should keep the spatial structure: whole channels rather than single elements"
    lesson = (
        "Conv layers take rates of .1 to .2, with whole channels dropped, because a dropped pixel is given away by "
        "its neighbours. Loose: networks with BatchNorm often gain nothing from either; the variance that dropout "
        "adds before a BatchNorm disagrees with its running statistics."
    )
    source = "Tompson et al. 2015, arXiv:1411.4280, section 3.2; the objection: Li et al. 2019, arXiv:1801.05134"
    method = (
        "A small network, 1,200 steps, with rates of .1 and .2 inside its residual blocks, of whole channels or of "
        "elements, and with none. The claim holds if channels are ahead of elements in test accuracy (paired "
        "difference above 0 by its standard error, both rates together), and fails if clearly behind."
    )

    def trials(self, quick: bool) -> list[Trial]:
        kinds = [("none", 0.0), *((unit, p) for p in ((0.2,) if quick else (0.1, 0.2)) for unit in ("channels", "elements"))]
        steps, seeds = (300, 1) if quick else (1200, 3)
        return [
            Trial(
                f"{unit}-{p}-{s}",
                {"condition": f"{unit} {p:g}" if p else "none", "unit": unit, "p": p, "seed": s, "steps": steps},
            )
            for unit, p in kinds
            for s in range(seeds)
        ]

    def measure(self, trial: Trial, folder: Path) -> Numbers:
        from torch import nn

        from regulo.claims.lab.experiments import evaluation, fit, network
        from regulo.sites import sites

        model = network(trial["seed"], "model.width=16", "regularizer=none")
        if trial["p"]:
            for site in sites(model, "conv"):
                site.put((nn.Dropout2d if trial["unit"] == "channels" else nn.Dropout)(trial["p"]))
        fit(model, trial["steps"], 0.1, 64, trial["seed"], one_cycle=True)
        return {"test/acc": evaluation(model).scores()["acc"], "train/acc": evaluation(model, "train").scores()["acc"]}

    def judge(self, trials: Sequence[Trial]) -> Finding:
        groups = by(trials, "condition")
        rows = [Row(f"{c}: test accuracy (%)", [100 * t["test/acc"] for t in ts], ".2f") for c, ts in groups.items()]
        rows += [
            Row(f"{c}: gap (points)", [100 * (t["train/acc"] - t["test/acc"]) for t in ts], ".2f") for c, ts in groups.items()
        ]
        rates = sorted({t["p"] for t in trials if t["p"]})
        ahead = [d for p in rates for d in paired(trials, "test/acc", f"channels {p:g}", f"elements {p:g}")]
        over_none = [d for p in rates for d in paired(trials, "test/acc", f"channels {p:g}", "none")]
        rows += [Row("channels − elements (points)", ahead, "+.2f"), Row("channels − none (points)", over_none, "+.2f")]
        number = f"channels are {told(ahead)} points ahead of elements, and {told(over_none)} of no dropout"
        verdict = "holds" if clearly_above(ahead) else "fails" if clearly_above([-d for d in ahead]) else "holds with a limit"
        return Finding(verdict, number, "", rows)  # type: ignore[arg-type]

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        dots(trials, "test/acc", "test accuracy (%)", figure)
