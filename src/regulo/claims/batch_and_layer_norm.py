"""Claim 6: BatchNorm, LayerNorm and the batch."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.claims.base import Claim, Finding, Numbers, Row, Trial, by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZES, EPOCHS, IMAGES, RATE = (2, 4, 8, 16, 32, 64, 128), 3, 2500, 0.1


class BatchAndLayerNorm(Claim):
    """What one image's output depends on."""

    number = 6
    statement = "BatchNorm's output for one image depends on its batch in training and not in inference; LayerNorm's never does"
    lesson = (
        "BatchNorm uses the statistics of the batch in training and running ones in inference; LayerNorm normalises "
        "each sample alone and is independent of the batch. Loose: 'independent of the batch size' is about the "
        "function; the noise of the gradient still depends on it."
    )
    source = (
        "Ioffe & Szegedy 2015, arXiv:1502.03167; Ba et al. 2016, arXiv:1607.06450; small batches: Wu & He 2018, arXiv:1803.08494"
    )
    method = (
        "The default network with each norm in float64: the largest change of one image's logits when the other 15 "
        "images of its batch are others. Below 1e-9 counts as none; a change where none is claimed, or none where "
        f"one is, refutes the claim. Beside it, test accuracy after {EPOCHS} epochs on {IMAGES:,} images at batch "
        f"sizes {SIZES[0]} to {SIZES[-1]} (width 8; rate {RATE} · √(B/64), SGD with momentum)."
    )

    def trials(self, quick: bool) -> list[Trial]:
        trials = [
            Trial(f"dependence-{norm}-{s}", {"part": "dependence", "norm": norm, "seed": s})
            for norm in ("batch", "layer")
            for s in range(3)
        ]
        for size in SIZES[2::2] if quick else SIZES:
            for norm in ("batch", "layer"):
                for s in range(1 if quick else 2):
                    trials.append(Trial(f"batch{size}-{norm}-{s}", {"part": "accuracy", "size": size, "norm": norm, "seed": s}))
        return trials

    def measure(self, trial: Trial, folder: Path) -> Numbers:
        import torch

        from regulo.claims.lab.experiments import accuracy, fit, network, tensors

        norm = ("regularizer=[norm]", f"regularizer.norm.kind={trial['norm']}", "model.width=8")
        model = network(trial["seed"], *norm)
        if trial["part"] == "accuracy":
            size = trial["size"]
            fit(model, EPOCHS * IMAGES // size, RATE * (size / 64) ** 0.5, size, trial["seed"], count=IMAGES)
            return {"accuracy": accuracy(model)}
        x = tensors("test")[0].double()
        one, others = torch.cat([x[:1], x[1:16]]), torch.cat([x[:1], x[16:31]])
        model = model.double()
        change = {}
        with torch.no_grad():
            for mode in (True, False):
                model.train(mode)
                change["training" if mode else "inference"] = (model(one)[0] - model(others)[0]).abs().max().item()
        return change

    def judge(self, trials: Sequence[Trial]) -> Finding:
        parts = by(trials, "part")
        changes = {
            (norm, mode): [t[mode] for t in ts]
            for norm, ts in by(parts["dependence"], "norm").items()
            for mode in ("training", "inference")
        }
        depends = {key: max(v) > 1e-9 for key, v in changes.items()}
        right = depends == {k: k == ("batch", "training") for k in changes}
        rows = [Row(f"{norm}, {mode}: change of a logit", v, ".2g") for (norm, mode), v in changes.items()]
        small = {}
        for size, some in by(parts["accuracy"], "size").items():
            for norm, ts in by(some, "norm").items():
                values = [100 * t["accuracy"] for t in ts]
                rows.append(Row(f"accuracy at batch {size}, {norm} (%)", values, ".1f"))
                small[size, norm] = statistics.fmean(values)
        least, most = min(s for s, _ in small), max(s for s, _ in small)
        number = (
            f"training: BatchNorm's logits change by up to {max(changes['batch', 'training']):.2g}, LayerNorm's by "
            f"{max(changes['layer', 'training']):.1g}; in inference neither. Accuracy at batch {least}: "
            f"{small[least, 'batch']:.1f}% against {small[least, 'layer']:.1f}%, at {most}: "
            f"{small[most, 'batch']:.1f}% against {small[most, 'layer']:.1f}%"
        )
        return Finding("holds" if right else "fails", number, "", rows)

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        axis = figure.subplots()
        for norm, some in by([t for t in trials if t["part"] == "accuracy"], "norm").items():
            sizes = by(some, "size")
            means = [statistics.fmean(t["accuracy"] for t in ts) for ts in sizes.values()]
            axis.semilogx(list(sizes), means, "o-", base=2, label={"batch": "BatchNorm", "layer": "LayerNorm"}[norm])
        axis.set(xlabel="batch size", ylabel=f"test accuracy after {EPOCHS} epochs")
        axis.legend()
