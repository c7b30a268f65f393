"""Claim 2: dropout as an ensemble."""

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimRow, ClaimTrial, Numbers, group_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS, P, IMAGES = 12, 0.5, 200


class DropoutEnsemble(Claim):
    """All 2^n subnetworks, compared with the full network."""

    number = 2
    statement = (
        "A network with n droppable units is 2ⁿ subnetworks, whose normalized geometric mean the full network approximates"
    )
    lesson = (
        "Dropout trains an ensemble of 2ⁿ networks that share weights; the full network approximates the geometric "
        "mean of their predictions. Not precise: for one hidden layer below a softmax it is not an approximation but an "
        "identity; for deeper networks the lesson gives no error, and no useful bound exists. Not all 2ⁿ networks are "
        "different: if a whole layer is dropped, the layers before it have no effect."
    )
    reference = (
        "Hinton et al. 2012, arXiv:1207.0580 (the identity); Baldi & Sadowski 2013, NeurIPS 26 (estimates for "
        "logistic units); Warde-Farley et al. 2014, arXiv:1312.6197 (the exact mean in small networks); Goodfellow "
        "et al. 2016, section 7.12"
    )
    method = (
        f"tanh networks on 49 block means of an image, trained with dropout p = {P}; {UNITS} droppable units in one, "
        f"two or three hidden layers. All {2**UNITS:,} masks are enumerated in float64 on {IMAGES} test images: "
        "KL(geometric mean ‖ full network). For one layer, more than 1e-12 nats refutes the claim; for deeper ones, "
        "more than a tenth of the KL of a typical single subnetwork does; a smaller KL is reported as the limit."
    )

    def trials(self, quick: bool) -> list[ClaimTrial]:
        return [
            ClaimTrial(f"layers{n}-seed{seed}", {"layers": n, "seed": seed})
            for n in (1, 2, 3)
            for seed in range(1 if quick else 5)
        ]

    def measure(self, trial: ClaimTrial, folder: Path) -> Numbers:
        from regulo.analysis.claims.lab.experiments import load_tensors

        (x, y), (test, labels) = load_tensors("train"), load_tensors("test")
        x, test = (nn.functional.avg_pool2d(t, 4).flatten(1) for t in (x, test[:IMAGES]))
        torch.manual_seed(trial["seed"])
        widths = [x.shape[1], *[UNITS // trial["layers"]] * trial["layers"], 10]
        layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        optimizer = torch.optim.Adam(layers.parameters(), lr=5e-3)
        for _ in range(1500):
            batch = torch.randint(len(x), (128,))
            masks = [(torch.rand(128, w) >= P) / (1 - P) for w in widths[1:-1]]
            loss = nn.functional.cross_entropy(forward(layers, x[batch], masks), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return compare(layers.double(), test.double(), labels[:IMAGES], widths[1:-1])

    def judge(self, trials: Sequence[ClaimTrial]) -> ClaimResult:
        by_depth = group_by(trials, "layers")
        identity = all(t["kl"] < 1e-12 for t in by_depth[1])
        close = all(t["kl"] < 0.1 * t["kl_single"] for n in by_depth if n > 1 for t in by_depth[n])
        name = {n: f"{n} layer{'s' * (n > 1)}" for n in by_depth}
        rows = [
            ClaimRow(f"{name[n]}: KL(geometric mean ‖ full network), nats", [t["kl"] for t in ts], ".3g")
            for n, ts in by_depth.items()
        ]
        rows += [
            ClaimRow(f"{name[n]}: KL(… ‖ a single subnetwork), nats", [t["kl_single"] for t in ts], ".3g")
            for n, ts in by_depth.items()
        ]
        rows += [
            ClaimRow(f"{name[n]}: same class as the mean (%)", [100 * t["agreement"] for t in ts], ".1f")
            for n, ts in by_depth.items()
        ]
        rows += [ClaimRow(f"{name[n]}: different subnetworks", [t["different"] for t in ts], "g") for n, ts in by_depth.items()]
        deep_kl = max(t["kl"] for n in by_depth if n > 1 for t in by_depth[n])
        evidence = (
            f"one layer: KL ≤ {max(t['kl'] for t in by_depth[1]):.1g} nats, an identity; deeper: up to {deep_kl:.2g} nats, "
            f"where a single subnetwork is {min(t['kl_single'] for n in by_depth if n > 1 for t in by_depth[n]):.2g} or "
            "more away"
        )
        return ClaimResult("fails" if not (identity and close) else "holds with a limit", evidence, rows)

    def draw(self, trials: Sequence[ClaimTrial], figure: "Figure") -> None:
        axis = figure.subplots()
        for key, label in (("kl_single", "a single subnetwork (mean)"), ("kl", "the full network")):
            axis.semilogy([t["layers"] for t in trials], [max(t[key], 1e-17) for t in trials], "o", label=label)
        axis.set(
            xlabel="hidden layers with dropout",
            ylabel=f"KL from the geometric mean\nof {2**UNITS:,} subnetworks (nats)",
            xticks=[1, 2, 3],
        )
        axis.legend()


def forward(layers: nn.ModuleList, x: Tensor, masks: Sequence[Tensor]) -> Tensor:
    """Logits (B, 10) for inputs (B, 49); each hidden activation is multiplied by its mask."""
    for layer, mask in zip(layers, masks, strict=False):
        x = layer(x).tanh() * mask
    return layers[-1](x)


def compare(layers: nn.ModuleList, x: Tensor, labels: Tensor, widths: Sequence[int]) -> Numbers:
    """Compare the full network and single subnetworks with the normalized geometric mean of all, weighted by probability."""
    units = sum(widths)
    log_mean = torch.zeros(len(x), 10, dtype=torch.float64)
    single_log_p = []
    for code in range(2**units):
        mask = torch.tensor([code >> i & 1 for i in range(units)], dtype=torch.float64)
        probability = P ** (units - int(mask.sum())) * (1 - P) ** int(mask.sum())
        log_p = forward(layers, x, (mask / (1 - P)).split(list(widths))).log_softmax(1)
        log_mean += probability * log_p
        if code % 41 == 0:
            single_log_p.append(log_p)
    geometric = log_mean.log_softmax(1)
    full = forward(layers, x, [torch.ones(w, dtype=torch.float64) for w in widths]).log_softmax(1)

    def kl(log_q: Tensor) -> float:
        return (geometric.exp() * (geometric - log_q)).sum(1).mean().item()

    return {
        "kl": abs(kl(full)),
        "kl_single": sum(map(kl, single_log_p)) / len(single_log_p),
        "accuracy": full.argmax(1).eq(labels).double().mean().item(),
        "different": functools.reduce(lambda count, w: 1 + (2**w - 1) * count, widths, 1),
        "agreement": full.argmax(1).eq(geometric.argmax(1)).double().mean().item(),
    }
