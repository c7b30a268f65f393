"""Claim 4: BatchNorm and the learning rate."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, ClaimVerdict, Numbers, group_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = tuple(0.004 * 2**i for i in range(13))
STEPS, TRAINED, WIDTH, BATCH = 200, 1.8, 8, 64
ARMS = ("BatchNorm", "none", "none, He")


class BatchNormLearningRate(Claim):
    """The largest learning rate that trains."""

    number = 4
    statement = "BatchNorm raises the largest learning rate that trains by 10 to 100 times"
    lesson = (
        "With batch normalization the learning rate can be 10 to 100 times higher. Not precise: the paper raises it 5 and "
        "30 times; how much is possible depends on the depth, the initialization, residual connections and the "
        "optimizer, and *why* is disputed. With a suitable initialization, residual networks train at the same rates "
        "without any norm."
    )
    reference = (
        "Ioffe & Szegedy 2015, arXiv:1502.03167, section 4.2; Bjorck et al. 2018, arXiv:1806.02375; Santurkar et al. "
        "2018, arXiv:1805.11604; the objection: Zhang et al. 2019 (Fixup), arXiv:1901.09321"
    )
    method = (
        f"Small residual networks (width {WIDTH}) of two depths: with BatchNorm, with none, and with none but He "
        f"initialization where each block starts as its shortcut. {STEPS} steps of SGD with momentum at constant rates "
        f"from {RATES[0]:g} to {RATES[-1]:g} by factors of 2. A rate trains if the mean loss of the last 20 steps is "
        f"below {TRAINED} (from 2.30). BatchNorm's largest rate, divided by that of the better network without: below 2 at "
        "every depth refutes the claim, 10 to 100 at every depth confirms it."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        depths, seeds = ((8,), 1) if quick else ((8, 20), 3)
        rates = list(RATES[:: 2 if quick else 1])
        return [
            ClaimTrial(f"depth{d}-{arm.replace(', ', '-')}-seed{s}", {"depth": d, "arm": arm, "seed": s, "rates": rates})
            for d in depths
            for arm in ARMS
            for s in range(seeds)
        ]

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        losses: list[float] = []
        for rate in trial["rates"]:
            losses.append(final_loss(trial["depth"], trial["arm"], trial["seed"], rate))
            if min(losses) < TRAINED and min(losses[-2:]) > TRAINED:  # two rates in a row fail, after rates that train
                break
        return {"losses": losses}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        rows, mean_ratio, remarks = [], {}, []
        for depth, group in group_by(trials, "depth").items():
            best = {(t["arm"], t["seed"]): largest_rate(t) for t in group}
            cases = len(group) // len(ARMS)
            for arm in ARMS:
                rates = [r for (a, _), r in best.items() if a == arm and r is not None]
                if rates:
                    rows.append(ClaimRow(f"depth {depth}, {arm}: largest rate that trains", rates, ".3g"))
                if len(rates) < cases:
                    remarks.append(f"at depth {depth} {arm} trains at no rate in {cases - len(rates)} cases")
            if ratios := ratios_per_seed(best):
                rows.append(ClaimRow(f"depth {depth}: ratio", ratios, ".1f"))
                mean_ratio[depth] = statistics.geometric_mean(ratios)
        if any(largest_rate(t) == t["rates"][-1] for t in trials):
            remarks.append("some trained at the highest rate of the grid")
        per_depth = ", ".join(f"{r:.1f}× at depth {d}" for d, r in mean_ratio.items()) or "no pair of networks trained"
        low, high = min(mean_ratio.values(), default=0.0), max(mean_ratio.values(), default=0.0)
        verdict: ClaimVerdict = "fails" if high < 2 else "holds" if low >= 10 and high <= 100 else "holds with a limit"
        evidence = "; ".join([f"the largest rate that trains is {per_depth} that of the better network without", *remarks])
        return ClaimResult(verdict, evidence, rows)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        plot_curves(trials, trials[0]["rates"], "learning rate", 10, figure)


def final_loss(depth: int, arm: str, seed: int, rate: float, scale: float = 1.0) -> float:
    """The mean loss of the last 20 steps; 1e9 if it was not finite. Initial convolution weights are multiplied by `scale`."""
    import torch
    from torch import nn

    from regulo.analysis.claims.lab.experiments import build_network, fit, init_he

    kind = "batch" if arm == "BatchNorm" else "none"
    model = build_network(
        seed, f"model.depth={depth}", f"model.width={WIDTH}", "regularizer=[norm]", f"regularizer.norm.kind={kind}"
    )
    if arm == "none, He":
        init_he(model)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(scale)
    losses = fit(model, STEPS, rate, BATCH, seed)
    end = statistics.fmean(losses[-20:]) if len(losses) == STEPS else math.inf
    return end if math.isfinite(end) else 1e9


def largest_rate(trial: ClaimTrial) -> float | None:
    """The last rate, from the best one on, before the first that does not train; None if no rate trains."""
    losses: list[float] = trial["losses"]
    best = min(range(len(losses)), key=lambda i: losses[i])
    if losses[best] >= TRAINED:
        return None
    end = best
    while end + 1 < len(losses) and losses[end + 1] < TRAINED:
        end += 1
    return trial["rates"][end]


def ratios_per_seed(best: Mapping[tuple[str, int], float | None]) -> list[float]:
    """BatchNorm's largest rate over that of the better network without, for each seed where both train.

    best: the largest rate that trains, or None, by arm and seed.
    """
    ratios = []
    for seed in dict.fromkeys(seed for _, seed in best):
        with_norm = best["BatchNorm", seed]
        without = [r for r in (best["none", seed], best["none, He", seed]) if r is not None]
        if with_norm is not None and without:
            ratios.append(with_norm / max(without))
    return ratios


def plot_curves(trials: Sequence[ClaimTrial], grid: Sequence[float], label: str, base: int, figure: "Figure") -> None:
    """Draw the final loss over a grid, with a panel per depth and a color per arm; a cross at the top: diverged."""
    axes = figure.subplots(1, len(group_by(trials, "depth")), sharey=True, squeeze=False)[0]
    for axis, (depth, group) in zip(axes, group_by(trials, "depth").items(), strict=True):
        for (arm, arm_trials), color in zip(
            group_by(group, "arm").items(), ("tab:blue", "tab:orange", "tab:green"), strict=False
        ):
            for t in arm_trials:
                x = grid[: len(t["losses"])]
                name = arm if t["seed"] == 0 else None
                axis.semilogx(x, [min(v, 3) for v in t["losses"]], "-", base=base, color=color, label=name, alpha=0.7)
                diverging_rates = [rate for rate, v in zip(x, t["losses"], strict=True) if v > 3]
                axis.plot(diverging_rates, [3] * len(diverging_rates), "x", color=color)
        axis.axhline(TRAINED, color="gray", linewidth=1)
        axis.set(title=f"depth {depth}; below the line: trains", xlabel=label)
    axes[0].set_ylabel("loss at the end (× above 3)")
    axes[0].legend(fontsize=8)
