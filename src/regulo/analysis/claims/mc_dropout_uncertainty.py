"""Claim 3: MC dropout."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, ClaimVerdict, Numbers, mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

PLAN = ["regularizer=[dropout,mc_dropout,augment,weight_decay]", "regularizer.dropout.fc=0.3", "regularizer.dropout.conv=0.1"]
KINDS = ("noise", "upside down", "tiles swapped")


class MCDropoutUncertainty(Claim):
    """Entropy and mutual information on test images and on shifted ones."""

    number = 3
    statement = "MC dropout's uncertainty is larger off the training distribution"
    lesson = (
        "Dropout kept at test time samples an approximate posterior, so that the spread of its predictions measures "
        "uncertainty. Not precise: the approximation does not concentrate with more data, and the entropy of one plain "
        "pass is already larger off the distribution; the question is whether MC dropout shows more."
    )
    reference = (
        "Gal & Ghahramani 2016, arXiv:1506.02142; the objection: Osband 2016, 'Risk versus Uncertainty in Deep "
        "Learning'; comparisons under shift: Ovadia et al. 2019, arXiv:1906.02530"
    )
    method = (
        "A network trained with dropout .3 (features) and .1 (maps); 20 passes. 1,000 test images against the same "
        "images with Gaussian noise (σ = 1 of the data's), turned upside down, or with their four quarters rotated "
        "clockwise by one position. AUROC of the mutual information: above .5 in every seed for every shift, the claim "
        "holds; for some shifts, with a limit; for none, it fails. The predictive entropy and the entropy of one "
        "plain pass are reported for comparison."
    )
    labels: ClassVar[dict[str, str]] = {
        "mutual_information": "mutual information",
        "entropy": "predictive entropy",
        "softmax": "entropy of one plain pass",
    }

    def trials(self, quick: bool) -> list[ClaimTrial]:
        from regulo.analysis.claims.lab.experiments import short_run

        overrides = short_run(quick, *PLAN, *(["regularizer.mc_dropout.samples=8"] if quick else []))
        return [ClaimTrial(f"seed{s}", {"overrides": overrides, "seed": s}) for s in range(1 if quick else 3)]

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        import torch

        from regulo.analysis.claims.lab.experiments import load_tensors, train
        from regulo.evaluation.restore import load_run
        from regulo.tracking.run_dir import RunFolder

        result = train([*trial["overrides"], f"seed={trial['seed']}"], folder)
        if result["status"] != "done":
            raise RuntimeError(f"the run in {result['folder']} diverged")
        run = load_run(RunFolder.open(result["folder"]))
        x = load_tensors("test")[0][:1000]
        torch.manual_seed(trial["seed"])
        scores: dict[str, dict[str, Tensor]] = {}
        with torch.inference_mode():
            for kind, images in {"test": x, **shift_images(x)}.items():
                outputs = run.plan.infer(run.classifier.model, images)
                p = run.classifier.model(images).softmax(1)
                plain = -(p * p.clamp(min=1e-12).log()).sum(1)
                scores[kind] = {key: outputs[key] for key in ("mutual_information", "entropy")} | {"softmax": plain}
        return {
            f"{kind}/{key}": auroc(scores["test"][key], scores[kind][key])
            for kind in KINDS
            for key in ("mutual_information", "entropy", "softmax")
        } | {"means": {kind: s["mutual_information"].mean().item() for kind, s in scores.items()}}

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        table = [
            ClaimRow(f"{kind}: AUROC of the {name}", [t[f"{kind}/{key}"] for t in trials], ".3f")
            for kind in KINDS
            for key, name in self.labels.items()
        ]
        larger = [kind for kind in KINDS if all(t[f"{kind}/mutual_information"] > 0.5 for t in trials)]
        wins = [kind for kind in KINDS if mean(trials, f"{kind}/mutual_information") > mean(trials, f"{kind}/softmax")]
        per_shift = ", ".join(f"{kind} {mean(trials, f'{kind}/mutual_information'):.2f}" for kind in KINDS)
        evidence = (
            f"AUROC of the mutual information: {per_shift}; above that of one plain pass's entropy on {len(wins)} of {len(KINDS)}"
        )
        verdict: ClaimVerdict = "holds" if len(larger) == len(KINDS) else "holds with a limit" if larger else "fails"
        return ClaimResult(verdict, evidence, table)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        axis = figure.subplots()
        for offset, (key, label) in enumerate(self.labels.items()):
            for i, kind in enumerate(KINDS):
                values = [t[f"{kind}/{key}"] for t in trials]
                name = label if i == 0 else None
                axis.plot([i + 0.15 * offset] * len(values), values, "o", color=f"C{offset}", label=name, alpha=0.7)
        axis.axhline(0.5, color="gray", linewidth=1)
        axis.set(
            xticks=[i + 0.15 for i in range(len(KINDS))], xticklabels=KINDS, ylabel="AUROC against test images", ylim=(0, 1.02)
        )
        axis.legend(loc="lower right", fontsize=8)


def shift_images(x: "Tensor") -> "dict[str, Tensor]":
    """Images (N, C, H, W) off the training distribution, by kind of shift; each (N, C, H, W)."""
    import torch

    h, w = x.shape[-2] // 2, x.shape[-1] // 2
    a, b, c, d = x[..., :h, :w], x[..., :h, w : 2 * w], x[..., h : 2 * h, :w], x[..., h : 2 * h, w : 2 * w]
    top, bottom = torch.cat([c, a], 3), torch.cat([d, b], 3)
    return {"noise": x + torch.randn_like(x), "upside down": x.flip(2), "tiles swapped": torch.cat([top, bottom], 2)}


def auroc(inside: "Tensor", outside: "Tensor") -> float:
    """The probability that a score of `outside` (M,) exceeds one of `inside` (N,); ties count half."""
    import torch

    both = torch.cat([inside, outside]).double()
    _, inverse, counts = both.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0) - (counts - 1) / 2)[inverse]
    n, m = len(inside), len(outside)
    return ((ranks[n:].sum() - m * (m + 1) / 2) / (n * m)).item()
