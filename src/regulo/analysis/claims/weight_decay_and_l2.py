"""Claim 7: weight decay and L2."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, Numbers, group_by
from regulo.analysis.claims.lab.comparison import best_on_validation, contrast, divergence_note, means, rows, run_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS, DECAY = 40, 0.01
RATES = {"decoupled": (0.01, 0.1, 0.5), "l2": (0.0001, 0.001, 0.01)}


class WeightDecayAndL2(Claim):
    """Decoupled decay θ ← (1 − ηλ) θ, compared with λθ in the gradient."""

    number = 7
    statement = "Weight decay θ ← (1 − ηλ)θ − η∇L equals L2 under plain SGD and differs under Adam; AdamW tests better"
    lesson = (
        "The two are the same under SGD, and not under Adam, which divides λθ by the gradient's own scale; AdamW "
        "decouples them, with λ of .01 to .1. Not precise: in the paper's algorithms the decay is η_t λ with η_t the "
        "*multiplier* of the schedule and not the rate; (1 − ηλ), and the usual λ for it, are PyTorch's "
        "convention. Under SGD *with momentum* the two differ by the momentum of the decay term, and that AdamW "
        "generalizes better is an experimental result."
    )
    reference = "Loshchilov & Hutter 2019, arXiv:1711.05101, propositions 1 and 2, algorithms 1 and 2"
    method = (
        f"Part one, exact: {STEPS} steps of a small network in float64 under both; the largest difference of a "
        "weight, relative to the largest weight. Plain SGD must stay below 1e-10, Adam must exceed 1e-3, or the "
        "claim fails. Part two: 12 epochs with AdamW and with Adam + L2 at three strengths each; for each the "
        "strength is chosen on validation. The claim holds if AdamW's test accuracy is then significantly higher, else it "
        "has a limit."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        from regulo.analysis.claims.lab.experiments import short_run

        rules = ("sgd", "momentum", "adam")
        trials = [
            ClaimTrial(f"exact-{r}-{s}", {"part": "exact", "rule": r, "seed": s}) for r in rules for s in range(1 if quick else 3)
        ]
        for mode, rates in RATES.items():
            for rate in rates[1:2] if quick else rates:
                plan = ["optim=adamw", "optim.lr=0.003", "regularizer=[augment,weight_decay]"]
                plan += [f"regularizer.weight_decay.mode={mode}", f"regularizer.weight_decay.rate={rate}"]
                for s in range(1 if quick else 2):
                    label = f"{mode} {rate:g}"
                    settings = {"part": "run", "condition": label, "seed": s, "overrides": short_run(quick, *plan)}
                    trials.append(ClaimTrial(f"{mode}-{rate}-{s}", settings))
        return trials

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        from regulo.analysis.claims.lab.experiments import train

        if trial["part"] == "exact":
            return {"difference": weight_difference(trial["rule"], trial["seed"])}
        return run_numbers(train([*trial["overrides"], f"seed={trial['seed']}"], folder))

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        by_rule = group_by([t for t in trials if t["part"] == "exact"], "rule")
        exact = {rule: [t["difference"] for t in group] for rule, group in by_rule.items()}
        table = [ClaimRow(f"{rule}: relative difference after {STEPS} steps", v, ".2g") for rule, v in exact.items()]
        runs = [t for t in trials if t["part"] == "run"]
        table += rows(runs, "test/acc", ": test accuracy (%)")
        test = means(runs, "test/acc")
        best = {mode: best_on_validation(runs, prefix=mode) for mode in RATES}
        gain = contrast(runs, "test/acc", best["decoupled"], best["l2"])
        table.append(ClaimRow(f"{best['decoupled']} − {best['l2']}: test accuracy (points)", gain.differences, "+.2f"))
        exact_is_as_claimed = max(exact["sgd"]) < 1e-10 and min(exact["adam"]) > 1e-3
        evidence = (
            f"plain SGD differs by {max(exact['sgd']):.1g}, Adam by {min(exact['adam']):.2g}; at the strength best on "
            f"validation AdamW has {test[best['decoupled']]:.2f}% and Adam + L2 {test[best['l2']]:.2f}%: {gain} "
            f"points{divergence_note(runs)}"
        )
        return ClaimResult(
            "fails" if not exact_is_as_claimed else "holds" if gain.above else "holds with a limit", evidence, table
        )

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        left, right = figure.subplots(1, 2)
        exact = group_by([t for t in trials if t["part"] == "exact"], "rule")
        for rule, group in exact.items():
            left.plot([rule] * len(group), [max(t["difference"], 1e-17) for t in group], "o")
        left.set(yscale="log", ylabel=f"relative difference after {STEPS} steps")
        for mode, label in (("decoupled", "AdamW"), ("l2", "Adam + L2")):
            runs = [t for t in trials if t["part"] == "run" and t["condition"].startswith(mode)]
            rates = [float(t["condition"].split()[1]) for t in runs]
            right.semilogx(rates, [100 * t["test/acc"] for t in runs], "o", label=label, alpha=0.7)
        right.set(xlabel="λ", ylabel="test accuracy (%)")
        right.legend()


def weight_difference(rule: str, seed: int) -> float:
    """The largest difference of a weight between decoupled decay and L2 after STEPS steps, relative to the largest weight."""
    import torch
    import torch.nn.functional as F

    from regulo.analysis.claims.lab.experiments import build_network, load_tensors
    from regulo.optim.adamw import AdamW
    from regulo.optim.sgd import SGD
    from regulo.regularizers.components.plan import Plan
    from regulo.regularizers.weight_decay import WeightDecay

    optim = AdamW(lr=1e-3) if rule == "adam" else SGD(lr=0.01, momentum=0.9 if rule == "momentum" else 0.0, nesterov=False)
    x, y = load_tensors("train")
    weights = []
    for mode in ("decoupled", "l2"):
        model = build_network(seed, "model.width=4", "regularizer=none").double().train()
        groups = Plan([WeightDecay(rate=DECAY, mode=mode, skip=[])]).param_groups(model)
        optimizer = optim.build(groups, fused=False)
        for step in range(STEPS):
            batch = slice(32 * step, 32 * step + 32)
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch].double()), y[batch]).backward()
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return ((weights[0] - weights[1]).abs().max() / weights[1].abs().max()).item()
