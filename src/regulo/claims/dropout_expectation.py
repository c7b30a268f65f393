"""Claim 1: inverted dropout."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from regulo.claims.base import Claim, Finding, Numbers, Row, Trial, by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MASKS = 20_000


class DropoutExpectation(Claim):
    """h m / (1 − p) has the mean h, and inference does nothing."""

    number = 1
    statement = "Inverted dropout keeps the expectation, and inference is the identity"
    lesson = (
        "Units are dropped with probability p in training and the others are divided by 1 − p, so that nothing has "
        "to be done at test time. Loose: the expectation of the *activation* is kept, not that of what a "
        "non-linearity makes of it, nor the variance."
    )
    source = (
        "Srivastava et al. 2014, JMLR 15:1929 (there with scaling at test time); the variance: Li et al. 2019, arXiv:1801.05134"
    )
    method = (
        f"The features before the head of the default network, on 64 test images, through {MASKS:,} masks: the "
        "largest error of a mean, in its own standard errors (of 32,000 normal ones the largest is about 4.2; above "
        "6 refutes the claim), and the largest difference that dropout makes in inference (anything but 0 refutes "
        "it). The share by which ReLU(z − median z) grows in the mean shows the limit."
    )

    def trials(self, quick: bool) -> list[Trial]:
        rates = (0.5,) if quick else (0.1, 0.2, 0.5)
        return [Trial(f"p{p}-seed{seed}", {"p": p, "seed": seed}) for p in rates for seed in range(1 if quick else 3)]

    def measure(self, trial: Trial, folder: Path) -> Numbers:
        from regulo.claims.lab.experiments import network, tensors
        from regulo.sites import sites

        p = trial["p"]
        model = network(trial["seed"], "regularizer=[dropout]", f"regularizer.dropout.fc={p}")
        plain = network(trial["seed"], "regularizer=none")
        x = tensors("test")[0][:64]
        (site,) = sites(model, "fc")
        seen: list[torch.Tensor] = []
        handle = site.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
        with torch.no_grad():
            same = (model.eval()(x) - plain.eval()(x)).abs().max().item()
            handle.remove()
            h = seen[0].double()
            site.train()
            total, rectified, threshold = torch.zeros_like(h), torch.zeros_like(h), h.median()
            for _ in range(MASKS):
                dropped = site(h)
                total += dropped
                rectified += (dropped - threshold).relu()
        error = (total / MASKS - h).abs() / (h.abs() * (p / (1 - p) / MASKS) ** 0.5).clamp(min=1e-12)
        relu = (h - threshold).relu()
        return {
            "largest_error": error[h != 0].max().item(),
            "inference_difference": same,
            "behind_relu": (rectified.mean() / MASKS / relu.mean() - 1).item(),
        }

    def judge(self, trials: Sequence[Trial]) -> Finding:
        identity = all(t["inference_difference"] == 0 for t in trials)
        unbiased = all(t["largest_error"] < 6 for t in trials)
        worst = max(t["largest_error"] for t in trials)
        bias = max(t["behind_relu"] for t in trials)
        rows = [
            Row(f"p = {p}: largest error of a mean", [t["largest_error"] for t in ts], ".2f") for p, ts in by(trials, "p").items()
        ]
        rows += [
            Row(f"p = {p}: growth behind a ReLU", [100 * t["behind_relu"] for t in ts], ".1f")
            for p, ts in by(trials, "p").items()
        ]
        number = (
            f"no mean is further from its activation than {worst:.1f} standard errors, and inference differs by "
            f"{max(t['inference_difference'] for t in trials):g}; behind a ReLU the mean is up to {100 * bias:.0f}% "
            "higher"
        )
        verdict = "fails" if not (identity and unbiased) else "holds with a limit" if bias > 0.01 else "holds"
        return Finding(verdict, number, "standard errors; per cent", rows)  # type: ignore[arg-type]

    def draw(self, trials: Sequence[Trial], figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        for axis, key, label in (
            (left, "largest_error", "largest error of a mean\n(standard errors)"),
            (right, "behind_relu", "growth behind a ReLU"),
        ):
            axis.scatter([t["p"] for t in trials], [t[key] for t in trials])
            axis.set(xlabel="p", ylabel=label, ylim=(0, None))
        left.axhline(6, color="tab:red", linewidth=1)
        left.annotate("refuted above", (0.1, 6.1), color="tab:red")
