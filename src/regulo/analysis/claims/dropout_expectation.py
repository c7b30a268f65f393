"""Claim 1: inverted dropout."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, Numbers, group_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MASKS, STEPS, IMAGES = 20_000, 300, 64


class DropoutExpectation(Claim):
    """h m / (1 − p) has the mean h, and inference does nothing."""

    number = 1
    statement = "Inverted dropout keeps the expectation of an activation, and inference is the identity"
    lesson = (
        "Units are dropped with probability p in training and the others are divided by 1 − p, so that nothing has "
        "to be done at test time. Not precise: the original paper multiplies by the probability to *keep* (its p) at test "
        "time, and calls scaling in training the equivalent form; the expectation of the *activation* is kept, but not "
        "its variance, nor the expectation after a non-linearity such as the softmax."
    )
    reference = (
        "Srivastava et al. 2014, JMLR 15:1929 (section 10 for scaling in training); the variance: Li et al. 2019, "
        "arXiv:1801.05134"
    )
    method = (
        f"The features before the head of a network after {STEPS} steps of training, on {IMAGES} test images, through "
        f"{MASKS:,} masks: the largest error of a mean, in its own standard errors (of 8,192 normal ones the largest "
        "is about 4; above 6 refutes the claim), and the largest difference that dropout makes in inference "
        "(anything but 0 refutes it). In addition, what is *not* kept: the distance of the mean of the softmax over "
        "masks from the softmax of inference."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        rates = (0.5,) if quick else (0.1, 0.2, 0.5)
        return [ClaimTrial(f"p{p}-seed{seed}", {"p": p, "seed": seed}) for p in rates for seed in range(1 if quick else 3)]

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        from regulo.analysis.claims.lab.experiments import build_network, fit, load_tensors
        from regulo.models.components.sites import find_sites

        p = trial["p"]
        model = build_network(trial["seed"], "model.width=32", "regularizer=[dropout]", f"regularizer.dropout.fc={p}")
        plain = build_network(trial["seed"], "model.width=32", "regularizer=none")
        fit(model, STEPS, 0.1, 64, trial["seed"])
        plain.load_state_dict(model.state_dict())
        x = load_tensors("test")[0][:IMAGES]
        (site,) = find_sites(model, "fc")
        inputs: list[torch.Tensor] = []
        handle = site.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
        with torch.no_grad():
            difference = (model.eval()(x) - plain.eval()(x)).abs().max().item()
            handle.remove()
            h, head = inputs[0].double(), model.get_submodule("head").double()
            site.train()
            total, softmax = torch.zeros_like(h), torch.zeros(IMAGES, 10, dtype=torch.float64)
            for _ in range(MASKS):
                output = site(h)
                total += output
                softmax += head(output).softmax(1)
            error = (total / MASKS - h).abs() / (h.abs() * (p / (1 - p) / MASKS) ** 0.5).clamp(min=1e-12)
            shift = (softmax / MASKS - head(h).softmax(1)).abs().sum(1).mean() / 2
        return {"largest_error": error[h != 0].max().item(), "inference_difference": difference, "softmax_shift": shift.item()}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        is_as_claimed = all(t["inference_difference"] == 0 and t["largest_error"] < 6 for t in trials)
        rates = group_by(trials, "p").items()
        table = [
            ClaimRow(f"p = {p}: largest error of a mean (standard errors)", [t["largest_error"] for t in ts], ".2f")
            for p, ts in rates
        ]
        table += [
            ClaimRow(f"p = {p}: probability moved by averaging over masks (%)", [100 * t["softmax_shift"] for t in ts], ".2f")
            for p, ts in rates
        ]
        evidence = (
            f"no mean is further from its activation than {max(t['largest_error'] for t in trials):.1f} standard "
            f"errors, and inference differs by {max(t['inference_difference'] for t in trials):g}; not kept: the mean "
            f"softmax over masks moves up to {100 * max(t['softmax_shift'] for t in trials):.1f}% of the probability"
        )
        return ClaimResult("holds" if is_as_claimed else "fails", evidence, table)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        for axis, key, label in (
            (left, "largest_error", "largest error of a mean\n(standard errors)"),
            (right, "softmax_shift", "probability moved by averaging\nthe softmax over masks"),
        ):
            axis.plot([t["p"] for t in trials], [t[key] for t in trials], "o")
            axis.set(xlabel="p", ylabel=label, ylim=(0, None))
        left.axhline(6, color="tab:red", linewidth=1)
        left.annotate("refuted above", (0.3, 6.1), color="tab:red")
