"""Makes the README's picture from the metrics of two or more runs of each kind:

    .venv/bin/python scripts/figure_gap.py docs/figures/gap.png "none=runs/a,runs/b" "default=runs/c,runs/d"

Each panel shows one kind: accuracy on clean training images and on validation images, by epoch; each line is one run.
"""

import csv
import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

TRAIN, VAL = "#0072B2", "#D55E00"  # readable by color-blind readers (Okabe & Ito)


def read_curves(run: Path) -> tuple[list[float], list[float]]:
    """Accuracy of each epoch on clean training images and on validation images."""
    rows = [r for r in csv.DictReader((run / "metrics.csv").open()) if r.get("val/acc")]
    return [float(r["train_clean/acc"]) for r in rows], [float(r["val/acc"]) for r in rows]


def main() -> None:
    """Draw all kinds side by side."""
    output, kinds = Path(sys.argv[1]), dict(k.split("=", 1) for k in sys.argv[2:])
    figure = Figure(figsize=(4.6 * len(kinds), 3.4), layout="constrained")
    axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for ax, (kind, folders) in zip(axes, kinds.items(), strict=True):
        runs = [Path(f) for f in folders.split(",")]
        results = [json.loads((r / "result.json").read_text()) for r in runs]
        for run in runs:
            train, val = read_curves(run)
            epochs = range(1, len(train) + 1)
            ax.plot(epochs, train, color=TRAIN, lw=1.4, alpha=0.8, label="clean training images" if run is runs[0] else None)
            ax.plot(epochs, val, color=VAL, lw=1.4, alpha=0.8, label="validation images" if run is runs[0] else None)
            ax.fill_between(epochs, val, train, color="0.5", alpha=0.12, lw=0)
        n = len(runs)
        gap, test, loss = (sum(r[k] for r in results) / n for k in ("gap/acc", "test/acc", "test/loss"))
        ax.set_title(
            f"{kind}\ngap {100 * gap:.1f} points, test {100 * test:.1f}%, test NLL {loss:.3f} (mean, n = {n})", fontsize=9
        )
        ax.set_xlabel("epoch")
        ax.grid(alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("accuracy")
    axes[0].set_ylim(0.5, 1.01)
    axes[-1].legend(loc="lower right", fontsize=8, frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)


if __name__ == "__main__":
    main()
