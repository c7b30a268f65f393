"""Claim 6: BatchNorm, LayerNorm and the batch."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, Numbers, group_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES, EPOCHS, IMAGES, RATE, WIDTH = (2, 4, 8, 16, 32, 64, 128), 3, 2500, 0.1, 8


class BatchAndLayerNorm(Claim):
    """Whether one image's output depends on the other images of its batch."""

    number = 6
    statement = "BatchNorm's output for one image depends on its batch in training and not in inference; LayerNorm's never does"
    lesson = (
        "BatchNorm uses the statistics of the batch in training and running ones in inference; LayerNorm normalizes "
        "each sample alone and is independent of the batch. Not precise: that is true for the function; the noise of the "
        "gradient still depends on the batch size. (On maps, LayerNorm is over channels and positions together, as "
        "GroupNorm with one group.)"
    )
    reference = (
        "Ioffe & Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450; small batches: Wu & He 2018, "
        "arXiv:1803.08494; the rate's √B: Krizhevsky 2014, arXiv:1404.5997"
    )
    method = (
        "A small network with each norm in float64: the largest change of one image's logits when the other 15 "
        "images of its batch are replaced. Less than 1e-9 counts as no change; a change where none is claimed, or no "
        f"change in a seed where one is, refutes the claim. In addition: the difference in test accuracy after {EPOCHS} "
        f"epochs on {IMAGES:,} images (SGD with momentum, rate {RATE} √(B/64)) at each batch size; levels are not comparable "
        "*across* sizes, which have equal epochs but different numbers of steps."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        seeds = range(1 if quick else 2)
        trials = [
            ClaimTrial(f"dependence-{norm}-{s}", {"part": "dependence", "norm": norm, "seed": s})
            for norm in ("batch", "layer")
            for s in range(1 if quick else 3)
        ]
        for size in (8, 128) if quick else SIZES:
            for norm in ("batch", "layer"):
                settings = {"part": "accuracy", "size": size, "norm": norm}
                trials += [ClaimTrial(f"batch{size}-{norm}-{s}", {**settings, "seed": s}) for s in seeds]
        return trials

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        import torch

        from regulo.analysis.claims.lab.experiments import accuracy, build_network, fit, load_tensors

        norm = ("regularizer=[norm]", f"regularizer.norm.kind={trial['norm']}", f"model.width={WIDTH}")
        model = build_network(trial["seed"], *norm)
        if trial["part"] == "accuracy":
            size = trial["size"]
            fit(model, EPOCHS * IMAGES // size, RATE * (size / 64) ** 0.5, size, trial["seed"], count=IMAGES)
            return {"accuracy": accuracy(model)}
        x = load_tensors("test")[0].double()
        batch, other_batch = torch.cat([x[:1], x[1:16]]), torch.cat([x[:1], x[16:31]])
        model = model.double()
        change = {}
        with torch.no_grad():
            for mode in (True, False):
                model.train(mode)
                change["training" if mode else "inference"] = (model(batch)[0] - model(other_batch)[0]).abs().max().item()
        return change

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        parts = group_by(trials, "part")
        norms = group_by(parts["dependence"], "norm")
        changes = {(n, mode): [t[mode] for t in ts] for n, ts in norms.items() for mode in ("training", "inference")}
        is_as_claimed = all((min(v) > 1e-9) if k == ("batch", "training") else (max(v) < 1e-9) for k, v in changes.items())
        rows = [ClaimRow(f"{n}, {mode}: change of a logit", v, ".2g") for (n, mode), v in changes.items()]
        advantage = differences(parts["accuracy"])
        rows += [
            ClaimRow(f"batch − layer at batch size {size}: test accuracy (points)", v, "+.1f") for size, v in advantage.items()
        ]
        per_size = ", ".join(f"{statistics.fmean(v):+.1f} at {size}" for size, v in advantage.items())
        evidence = (
            f"in training BatchNorm's logits change by {min(changes['batch', 'training']):.2g} or more, LayerNorm's "
            f"by {max(changes['layer', 'training']):.1g}; in inference neither; accuracy of BatchNorm − LayerNorm: "
            f"{per_size} points"
        )
        return ClaimResult("holds" if is_as_claimed else "fails", evidence, rows)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        axis = figure.subplots()
        advantage = differences([t for t in trials if t["part"] == "accuracy"])
        for size, values in advantage.items():
            axis.plot([size] * len(values), values, "o", color="tab:blue", alpha=0.6)
        axis.semilogx(list(advantage), [statistics.fmean(v) for v in advantage.values()], "-", base=2, color="tab:red")
        axis.axhline(0, color="gray", linewidth=1)
        axis.set(xlabel="batch size; dots: seeds", ylabel="BatchNorm − LayerNorm:\ntest accuracy (points)")


def differences(trials: Sequence[ClaimTrial]) -> dict[int, list[float]]:
    """BatchNorm − LayerNorm in points of test accuracy, per seed, by batch size."""
    accuracy = {(t["size"], t["norm"], t["seed"]): 100 * t["accuracy"] for t in trials}
    sizes, seeds = group_by(trials, "size"), group_by(trials, "seed")
    return {size: [accuracy[size, "batch", s] - accuracy[size, "layer", s] for s in seeds] for size in sizes}
