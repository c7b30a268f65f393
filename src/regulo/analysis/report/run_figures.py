"""The figures of a run's page: curves by epoch, calibration, confusion."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regulo.analysis.report.page import Picture
from regulo.analysis.report.style import LIGHT, WIDTH, axes, label_ends
from regulo.core.figures import shorten
from regulo.core.metrics import EvalOutput

BINS = 15
"""of the calibration diagram: those of the expected calibration error"""
NAMED = 30
"""classes up to which a confusion matrix names them"""


@dataclass(frozen=True)
class Curves:
    """What a run logged, by epoch from 1; an epoch without a finite value is left out of its curve."""

    by_epoch: Mapping[str, Mapping[int, float]]
    handed_on: int | None
    """the epoch whose weights the run hands on"""

    def of(self, key: str) -> tuple[list[int], list[float]]:
        """(epochs, values) of one curve."""
        found = self.by_epoch.get(key, {})
        return list(found), list(found.values())


def curves(rows: Sequence[Mapping[str, str]], handed_on: int | None) -> Curves:
    """From the rows of metrics.csv; of several in an epoch, the last one counts."""
    found: dict[str, dict[int, float]] = {}
    for row in (r for r in rows if r["epoch"]):  # the final scores have none
        for key, value in row.items():
            if key not in ("epoch", "step") and value and math.isfinite(float(value)):
                found.setdefault(key, {})[int(float(row["epoch"])) + 1] = float(value)
    return Curves(found, handed_on)


def learning(run: Curves, images: str) -> list[Picture]:
    """Accuracy, loss, gap and learning rate by epoch. `images` names what was measured, with n."""
    last = f" The dotted line is epoch {run.handed_on}, whose weights are handed on." if run.handed_on else ""
    accuracy = {"train_clean/acc": ("clean train", "blue"), "val/acc": ("validation", "red")}
    loss = {"train_clean/loss": ("clean train", "blue"), "val/loss": ("validation", "red")}
    gap = f"Accuracy on clean training images minus accuracy on validation images: it grows as a network overfits.{last}"
    nll = f"Mean negative log-likelihood, without penalties, on {images}.{last}"
    drawn = [
        _lines(run, "accuracy", "Accuracy by epoch", "accuracy, %", accuracy, 100, f"Share of right answers on {images}.{last}"),
        _lines(run, "loss", "Loss by epoch", "NLL, nats", loss, 1, nll),
        _lines(run, "gap", "Generalization gap by epoch", "points", {"gap/acc": ("gap", "green")}, 100, gap),
        _lines(run, "rate", "Learning rate by epoch", "", {"lr": ("rate", "muted")}, 1, f"At the end of each epoch.{last}"),
    ]
    return [picture for picture in drawn if picture]


def _lines(
    run: Curves, name: str, title: str, unit: str, keys: Mapping[str, tuple[str, str]], factor: float, text: str
) -> Picture | None:
    """One or two curves; between two, the gap is shaded."""
    found = {key: run.of(key) for key in keys if run.of(key)[0]}
    if not found:
        return None
    ax = axes(2.9)
    for key, (epochs, values) in found.items():
        colour = LIGHT[keys[key][1]]
        ax.plot(epochs, factor * np.array(values), color=colour, marker="o" if len(epochs) < 3 else "", markersize=4)
    if len(found) == 2:
        (epochs, one), (same, other) = found.values()
        if epochs == same:
            ax.fill_between(epochs, factor * np.array(one), factor * np.array(other), color=LIGHT["muted"], alpha=0.14, lw=0)
    if run.handed_on:
        ax.axvline(run.handed_on, color=LIGHT["muted"], lw=1, ls=":")
    if name == "gap":
        ax.axhline(0, color=LIGHT["muted"], lw=0.8)
    ax.set_xlabel("epoch")
    ax.set_ylabel(unit)
    ax.locator_params(axis="x", integer=True)
    if len(found) > 1:
        label_ends(ax, [(factor * values[-1], *keys[key]) for key, (_, values) in found.items()])
    ends = "; ".join(f"{keys[k][0]} {factor * v[-1]:.4g} after epoch {e[-1]}" for k, (e, v) in found.items())
    return Picture(name, title, f"{text} At the end: {ends}.", ax.figure)


def reliability(test: EvalOutput) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean confidence, accuracy, count), each (BINS,), of the answers by confidence, in equal bins (low, high]."""
    confidence, answer = test.logits.softmax(1).max(1)
    place = np.clip(np.ceil(confidence.double().numpy() * BINS).astype(int) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    of = np.maximum(count, 1)
    right = np.bincount(place, (answer == test.labels).double().numpy(), BINS) / of
    return np.bincount(place, confidence.double().numpy(), BINS) / of, right, count


def calibration(test: EvalOutput, ece: float) -> Picture:
    """Accuracy against confidence, with what chance leaves open, above the share of answers at each confidence."""
    from regulo.core.figures import new_figure

    confidence, right, count = reliability(test)
    n, some = int(count.sum()), count > 0
    low, high = wilson(right[some] * count[some], count[some])
    drawing = new_figure(WIDTH, 4.6)
    ax, below = drawing.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    ax.plot([0, 100], [0, 100], color=LIGHT["muted"], lw=1, ls=":")
    ax.vlines(100 * confidence[some], 100 * low, 100 * high, color=LIGHT["blue"], lw=1.2)
    ax.plot(100 * confidence[some], 100 * right[some], "o", color=LIGHT["blue"], ms=4.5)
    ax.set(ylabel="right answers, %", ylim=(0, 103), xlim=(0, 103), yticks=range(0, 101, 20))
    ax.annotate("too sure", (80, 22), color=LIGHT["muted"], ha="center")
    ax.annotate("not sure enough", (22, 80), color=LIGHT["muted"], ha="center")
    edges = 100 * np.arange(BINS) / BINS
    below.bar(edges, 100 * count / n, 100 / BINS * 0.9, align="edge", color=LIGHT["cell"])
    below.set(xlabel="confidence, %", ylabel="of all, %")
    mean, acc = float((confidence * count).sum() / n), float((right * count).sum() / n)
    sense = "too sure" if mean > acc else "not sure enough"
    text = (
        f"On {n:,} test images the mean confidence is {100 * mean:.1f}% and {100 * acc:.1f}% of the answers are right: on the "
        f"whole {sense}. Expected calibration error {ece:.3f} ({BINS} equal bins). Bars: 95% intervals (Wilson); below: how many."
    )
    return Picture("calibration", "Calibration: is it as often right as it is sure?", text, drawing)


def wilson(right: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95% interval (Wilson, 1927) of each share `right` / `n`, both counts (m,): low (m,), high (m,)."""
    from scipy.stats import binomtest

    intervals = [binomtest(round(k), int(total)).proportion_ci(0.95, "wilson") for k, total in zip(right, n, strict=True)]
    low, high = np.array(intervals).T
    return low, high


def confusion(test: EvalOutput, classes: Sequence[str]) -> Picture:
    """Of each label, where the answers went."""
    counts = test.confusion_matrix().double().numpy()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    k = len(classes)
    size = WIDTH if k <= 12 else min(14.0, 1.4 + 0.36 * k)
    ax = axes(size, size, grid="")
    cells(ax, share, 100 * share if k <= NAMED else None, "{:.0f}")
    if k <= NAMED:
        names = [shorten(name, 14) for name in classes]
        ax.set_xticks(np.arange(k) + 0.5, names, rotation=60, ha="right", rotation_mode="anchor")
        ax.set_yticks(np.arange(k) + 0.5, names)
    ax.set(xlabel="answer", ylabel="label")
    text = f"Of each label the percentage that got each answer, test images, n = {int(counts.sum()):,}. The diagonal is right."
    return Picture("confusion", "Confusion", text, ax.figure)


def cells(ax: Any, strength: np.ndarray, numbers: np.ndarray | None, form: str) -> None:
    """A heat map (rows, columns) of strengths 0 to 1, the first row on top, with numbers where they do not round to 0."""
    rows, columns = strength.shape
    if numbers is None:
        colour = np.zeros((rows, columns, 4))
        colour[..., :3], colour[..., 3] = (0, 114 / 255, 178 / 255), strength
        ax.imshow(colour, extent=(0, columns, rows, 0), interpolation="nearest")
    else:
        from matplotlib.patches import Rectangle

        for i, j in np.ndindex(rows, columns):
            if strength[i, j] > 0.002:
                box = Rectangle((j, i), 1, 1, facecolor=LIGHT["cell"], alpha=float(strength[i, j]), lw=0)
                ax.add_patch(box)
            if form.format(numbers[i, j]) not in ("0", "nan"):
                ax.text(j + 0.5, i + 0.5, form.format(numbers[i, j]), ha="center", va="center")
        ax.set(xlim=(0, columns), ylim=(rows, 0))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def confusions(test: EvalOutput, classes: Sequence[str], most: int = 8) -> list[tuple[str, str, int, float]]:
    """The most frequent mistakes: (label, answer, images, share of the label's images)."""
    counts = test.confusion_matrix().numpy()
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(i // len(classes)), int(i % len(classes))) for i in order]
    return [(classes[i], classes[j], int(wrong[i, j]), float(wrong[i, j] / counts[i].sum())) for i, j in pairs if wrong[i, j] > 0]
