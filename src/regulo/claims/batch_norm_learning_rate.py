"""Claim 4: BatchNorm and the learning rate."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.claims.base import Claim, Finding, Numbers, Row, Trial, by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = [0.001 * 2**i for i in range(15)]
STEPS, TRAINED = 200, 1.8


class BatchNormLearningRate(Claim):
    """The largest learning rate that trains."""

    number = 4
    statement = "BatchNorm allows learning rates that are 10 to 100 times higher"
    lesson = (
        "With batch normalisation the learning rate can be 10 to 100 times higher. Loose: the paper raises it 5 and "
        "30 times; how much is possible depends on the depth, the initialisation, residual connections and the "
        "optimizer, and *why* is disputed."
    )
    source = (
        "Ioffe & Szegedy 2015, arXiv:1502.03167, section 4.2; Bjorck et al. 2018, arXiv:1806.02375; Santurkar et al. "
        "2018, arXiv:1805.11604"
    )
    method = (
        f"Small residual networks of three depths, with BatchNorm and with none, {STEPS} steps of SGD with momentum "
        f"at a constant rate from a grid of factors of 2 between {RATES[0]:g} and {RATES[-1]:g}. A rate trains if the "
        f"mean loss of the last 20 steps is below {TRAINED} (from 2.30). The largest rate up to which every rate from "
        "the best one on trains; a ratio below 2 at every depth refutes the claim, 10 at every depth confirms it."
    )

    def trials(self, quick: bool) -> list[Trial]:
        depths, seeds = ((8, 14), 1) if quick else ((8, 14, 20), 3)
        return [
            Trial(
                f"depth{d}-{norm}-seed{s}",
                {"depth": d, "norm": norm, "seed": s, "rates": RATES[:: 2 if quick else 1], "steps": STEPS},
            )
            for d in depths
            for norm in ("batch", "none")
            for s in range(seeds)
        ]

    def measure(self, trial: Trial, folder: Path) -> Numbers:
        from regulo.claims.lab.experiments import fit, network

        shape = (f"model.depth={trial['depth']}", "model.width=8", "regularizer=[norm]", f"regularizer.norm.kind={trial['norm']}")
        losses = []
        for rate in trial["rates"]:
            curve = fit(network(trial["seed"], *shape), trial["steps"], rate, 64, trial["seed"])
            end = statistics.fmean(curve[-20:]) if len(curve) == trial["steps"] else math.inf
            losses.append(end if math.isfinite(end) else 1e9)
        return {"losses": losses, "largest": largest(trial["rates"], losses)}

    def judge(self, trials: Sequence[Trial]) -> Finding:
        rows, ratios = [], {}
        for depth, some in by(trials, "depth").items():
            kinds = {norm: [t["largest"] for t in ts] for norm, ts in by(some, "norm").items()}
            rows += [Row(f"depth {depth}, {norm}", values, ".3g") for norm, values in kinds.items()]
            ratios[depth] = [b / n for b, n in zip(kinds["batch"], kinds["none"], strict=True)]
        rows += [Row(f"depth {depth}: ratio", values, ".1f") for depth, values in ratios.items()]
        typical = {d: statistics.geometric_mean(v) for d, v in ratios.items()}
        told = ", ".join(f"{r:.0f}× at depth {d}" for d, r in typical.items())
        low, high = min(typical.values()), max(typical.values())
        return Finding(
            "fails" if high < 2 else "holds" if low >= 10 else "holds with a limit",
            f"the largest rate that trains is {told} (geometric means over seeds)",
            "largest learning rate that trains",
            rows,
        )

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        axes = figure.subplots(1, len(by(trials, "depth")), sharey=True, squeeze=False)[0]
        for axis, (depth, some) in zip(axes, by(trials, "depth").items(), strict=True):
            for norm, colour in (("batch", "tab:blue"), ("none", "tab:orange")):
                for t in (t for t in some if t["norm"] == norm):
                    label = {"batch": "BatchNorm", "none": "none"}[norm] if t["seed"] == 0 else None
                    axis.semilogx(t["rates"], [min(v, 3) for v in t["losses"]], ".-", color=colour, label=label, alpha=0.7)
            axis.axhline(TRAINED, color="gray", linewidth=1)
            axis.set(title=f"depth {depth}", xlabel="learning rate")
        axes[0].set_ylabel("loss at the end (capped at 3)")
        axes[0].legend()


def largest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The end of the stretch of rates around the best one in which all train; the lowest rate if none does."""
    best = min(range(len(rates)), key=lambda i: losses[i])
    end = best
    while end + 1 < len(rates) and losses[end + 1] < TRAINED:
        end += 1
    return rates[end] if losses[best] < TRAINED else rates[0]
