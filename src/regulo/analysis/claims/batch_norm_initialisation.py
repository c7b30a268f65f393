"""Claim 5: BatchNorm and the initialization."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, ClaimVerdict, Numbers, group_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = tuple(2.0**i for i in (-6, -4, -2, 0, 2, 4, 6))
RATES = (0.01, 0.1)
TRAINED = 1.8


class BatchNormInitialization(Claim):
    """The range of initial weight scales at which training works."""

    number = 5
    statement = "BatchNorm widens the range of initial weight scales that train"
    lesson = (
        "With batch normalization, training is less sensitive to initialization. Not precise: 'initialization' here "
        "means the scale alone. With a normalization after it, a layer's weights have no effect on the forward pass by "
        "their scale; the gradient is divided by the scale, which so becomes a learning rate (η / ‖w‖²), and the "
        "insensitivity holds as long as that rate trains."
    )
    reference = "Ioffe & Szegedy 2015, arXiv:1502.03167, section 3.3; van Laarhoven 2017, arXiv:1706.05350"
    method = (
        "Small residual networks of two depths whose convolutions are initialized at 1/32 to 32 times their usual "
        "scale, with BatchNorm and with none, 200 steps of SGD with momentum at the better of the rates .01 and .1. "
        "The number of scales (of 7, by factors of 4) at which the mean loss of the last 20 steps falls below 1.8. "
        "The claim holds if BatchNorm has at least one more on average at every depth, with a limit at some, and "
        "fails at none."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        depths, seeds = ((8,), 1) if quick else ((8, 20), 3)
        return [
            ClaimTrial(f"depth{d}-{arm}-seed{s}", {"depth": d, "arm": arm, "seed": s})
            for d in depths
            for arm in ("BatchNorm", "none")
            for s in range(seeds)
        ]

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        from regulo.analysis.claims.batch_norm_learning_rate import final_loss

        network = trial["depth"], trial["arm"], trial["seed"]
        return {"losses": [min(final_loss(*network, rate, scale) for rate in RATES) for scale in SCALES]}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        rows, wins, per_depth = [], [], []
        for depth, group in group_by(trials, "depth").items():
            counts = {
                arm: [sum(loss < TRAINED for loss in t["losses"]) for t in ts] for arm, ts in group_by(group, "arm").items()
            }
            rows += [ClaimRow(f"depth {depth}, {arm}: scales that train", v, ".1f") for arm, v in counts.items()]
            with_norm, without = (statistics.fmean(counts[arm]) for arm in ("BatchNorm", "none"))
            wins.append(with_norm >= without + 1)
            per_depth.append(f"{with_norm:.1f} against {without:.1f} of {len(SCALES)} at depth {depth}")
        verdict: ClaimVerdict = "holds" if all(wins) else "holds with a limit" if any(wins) else "fails"
        return ClaimResult(verdict, "scales that train: " + ", ".join(per_depth), rows)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        from regulo.analysis.claims.batch_norm_learning_rate import plot_curves

        plot_curves(trials, SCALES, "initial scale (× usual)", 2, figure)
