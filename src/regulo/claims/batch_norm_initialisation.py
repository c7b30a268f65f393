"""Claim 5: BatchNorm and the initialisation."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.claims.base import Claim, Finding, Numbers, Row, Trial, by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = [2.0**i for i in range(-5, 6)]
STEPS, TRAINED, RATE = 200, 1.8, 0.03


class BatchNormInitialisation(Claim):
    """How wide a range of initial scales trains."""

    number = 5
    statement = "BatchNorm makes training less sensitive to initialisation"
    lesson = (
        "With batch normalisation the scale of the initial weights matters less. Behind a normalisation the forward "
        "pass does not see the scale of a layer's weights at all; the gradient is divided by it, which acts on the "
        "effective learning rate."
    )
    source = "Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.3; van Laarhoven 2017, arXiv:1706.05350"
    method = (
        "Small residual networks whose convolutions are initialised at 1/32 to 32 times their usual scale, with "
        f"BatchNorm and with none, {STEPS} steps of SGD with momentum at rate {RATE}. The number of octaves of scale "
        f"that train (mean loss of the last 20 steps below {TRAINED}); the claim is refuted unless BatchNorm has more "
        "at every depth."
    )

    def trials(self, quick: bool) -> list[Trial]:
        depths, seeds = ((8,), 1) if quick else ((8, 14, 20), 3)
        return [
            Trial(f"depth{d}-{norm}-seed{s}", {"depth": d, "norm": norm, "seed": s, "scales": SCALES, "steps": STEPS})
            for d in depths
            for norm in ("batch", "none")
            for s in range(seeds)
        ]

    def measure(self, trial: Trial, folder: Path) -> Numbers:
        import torch
        from torch import nn

        from regulo.claims.lab.experiments import fit, network

        shape = (f"model.depth={trial['depth']}", "model.width=8", "regularizer=[norm]", f"regularizer.norm.kind={trial['norm']}")
        losses = []
        for scale in trial["scales"]:
            model = network(trial["seed"], *shape)
            with torch.no_grad():
                for module in model.modules():
                    if isinstance(module, nn.Conv2d):
                        module.weight.mul_(scale)
            curve = fit(model, trial["steps"], RATE, 64, trial["seed"])
            end = statistics.fmean(curve[-20:]) if len(curve) == trial["steps"] else math.inf
            losses.append(end if math.isfinite(end) else 1e9)
        return {"losses": losses, "octaves": sum(loss < TRAINED for loss in losses)}

    def judge(self, trials: Sequence[Trial]) -> Finding:
        rows, wins, told = [], [], []
        for depth, some in by(trials, "depth").items():
            kinds = {norm: [t["octaves"] for t in ts] for norm, ts in by(some, "norm").items()}
            rows += [Row(f"depth {depth}, {norm}", values, ".1f") for norm, values in kinds.items()]
            b, n = (statistics.fmean(kinds[k]) for k in ("batch", "none"))
            wins.append(b > n)
            told.append(f"{b:.1f} against {n:.1f} of {len(SCALES)} at depth {depth}")
        verdict = "holds" if all(wins) else "holds with a limit" if any(wins) else "fails"
        return Finding(verdict, "octaves of scale that train: " + ", ".join(told), "octaves that train", rows)  # type: ignore[arg-type]

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        axes = figure.subplots(1, len(by(trials, "depth")), sharey=True, squeeze=False)[0]
        for axis, (depth, some) in zip(axes, by(trials, "depth").items(), strict=True):
            for norm, colour in (("batch", "tab:blue"), ("none", "tab:orange")):
                for t in (t for t in some if t["norm"] == norm):
                    label = {"batch": "BatchNorm", "none": "none"}[norm] if t["seed"] == 0 else None
                    axis.semilogx(
                        t["scales"], [min(v, 3) for v in t["losses"]], ".-", base=2, color=colour, label=label, alpha=0.7
                    )
            axis.axhline(TRAINED, color="gray", linewidth=1)
            axis.set(title=f"depth {depth}", xlabel="initial scale (× usual)")
        axes[0].set_ylabel("loss at the end (capped at 3)")
        axes[0].legend()
