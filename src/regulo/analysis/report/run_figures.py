"""The figures of a run's page: curves by epoch, calibration, confusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from regulo.analysis.report.page import Picture
from regulo.analysis.report.style import LIGHT, WIDTH, axes, label_ends
from regulo.core.figures import shorten
from regulo.core.metrics.base import EvalOutput
from regulo.tracking.records import Metrics

BINS = 15
"""of the calibration diagram: those of the expected calibration error"""
MAX_POINTS = 1000
"""points up to which a curve is drawn with all of them"""
MAX_NAMED_CLASSES = 30
"""classes up to which a confusion matrix names them"""


@dataclass(frozen=True)
class Curves:
    """The logged values of a run, by key and epoch; epochs count from 1. An epoch without a finite value is left out."""

    by_epoch: Mapping[str, tuple[np.ndarray, np.ndarray]]
    """epochs, in increasing order, and values"""
    final_epoch: int | None
    """the epoch of the final weights; None if the run is not finished"""

    def points(self, key: str) -> tuple[list[int], list[float]]:
        """(epochs, values) of one curve."""
        epochs, values = self.by_epoch.get(key, (np.zeros(0), np.zeros(0)))
        return epochs.tolist(), values.tolist()


def read_curves(metrics: Metrics, final_epoch: int | None) -> Curves:
    """The curves from metrics.csv; if an epoch has several rows, the last one counts."""
    by_epoch = {}
    for key in metrics.columns.keys() - {"epoch", "step"}:
        epochs, values = metrics.epochs(key), metrics.values(key)
        valid = (epochs >= 0) & np.isfinite(values)  # the row of the final scores has no epoch
        if valid.any():
            unique, last = np.unique(epochs[valid][::-1], return_index=True)
            by_epoch[key] = (unique + 1, values[valid][::-1][last])
    return Curves(by_epoch, final_epoch)


def thin(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Indices of the points to draw of curves (n,): all if they are few, else the ends and each part's lowest and highest."""
    n = len(curves[0])
    if n <= MAX_POINTS:
        return np.arange(n)
    parts = np.array_split(np.arange(n), MAX_POINTS // (2 * len(curves)))
    extremes = [part[extreme(curve[part])] for part in parts for curve in curves for extreme in (np.argmin, np.argmax)]
    return np.unique([0, *extremes, n - 1])


def learning_pictures(curves: Curves, images: str) -> list[Picture]:
    """Accuracy, loss, gap and learning rate by epoch. `images` names the images that were scored, with n."""
    final = f" The dotted line is epoch {curves.final_epoch}, the epoch of the final weights." if curves.final_epoch else ""
    accuracy = {"train_clean/acc": ("clean train", "blue"), "val/acc": ("validation", "red")}
    loss = {"train_clean/loss": ("clean train", "blue"), "val/loss": ("validation", "red")}
    gap = f"Accuracy on clean training images minus accuracy on validation images: it grows as a network overfits.{final}"
    nll = f"Mean negative log-likelihood, without penalties, on {images}.{final}"
    correct = f"Share of correct predictions on {images}.{final}"
    pictures = [
        _curve_picture(curves, "accuracy", "Accuracy by epoch", "accuracy, %", accuracy, 100, correct),
        _curve_picture(curves, "loss", "Loss by epoch", "NLL, nats", loss, 1, nll),
        _curve_picture(curves, "gap", "Generalization gap by epoch", "points", {"gap/acc": ("gap", "green")}, 100, gap),
        _curve_picture(
            curves, "rate", "Learning rate by epoch", "", {"lr": ("rate", "muted")}, 1, f"At the end of each epoch.{final}"
        ),
    ]
    return [picture for picture in pictures if picture]


def _curve_picture(
    curves: Curves, name: str, title: str, unit: str, keys: Mapping[str, tuple[str, str]], factor: float, text: str
) -> Picture | None:
    """One or two curves; between two, the gap is shaded. keys: by the logged key, a curve's label and color."""
    points = {key: (epochs, factor * np.array(values)) for key in keys for epochs, values in [curves.points(key)] if epochs}
    if not points:
        return None
    ax = axes(2.9)
    shared = len({tuple(epochs) for epochs, _ in points.values()}) == 1
    together = thin([values for _, values in points.values()]) if shared else None
    for key, (epochs, values) in points.items():
        drawn = thin([values]) if together is None else together
        marker = "o" if len(epochs) < 3 else ""
        ax.plot(np.array(epochs)[drawn], values[drawn], color=LIGHT[keys[key][1]], marker=marker, markersize=4)
    if len(points) == 2 and together is not None:
        (epochs, first), (_, second) = points.values()
        ax.fill_between(np.array(epochs)[together], first[together], second[together], color=LIGHT["muted"], alpha=0.14, lw=0)
    most = max(len(epochs) for epochs, _ in points.values())
    if most > MAX_POINTS:
        text += f" Of {most:,} epochs, only the lowest and the highest values are drawn."
    if curves.final_epoch:
        ax.axvline(curves.final_epoch, color=LIGHT["muted"], lw=1, ls=":")
    if name == "gap":
        ax.axhline(0, color=LIGHT["muted"], lw=0.8)
    ax.set_xlabel("epoch")
    ax.set_ylabel(unit)
    ax.locator_params(axis="x", integer=True)
    if len(points) > 1:
        label_ends(ax, [(float(values[-1]), *keys[key]) for key, (_, values) in points.items()])
    ends = "; ".join(f"{keys[key][0]} {values[-1]:.4g} after epoch {epochs[-1]}" for key, (epochs, values) in points.items())
    return Picture(name, title, f"{text} At the end: {ends}.", ax.figure)


def reliability(test: EvalOutput) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean confidence, accuracy, count), each (BINS,), of the predictions by confidence, in equal bins (low, high]."""
    confidence, predictions = test.logits.softmax(1).max(1)
    bins = np.clip(np.ceil(confidence.double().numpy() * BINS).astype(int) - 1, 0, BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    divisor = np.maximum(count, 1)
    accuracy = np.bincount(bins, (predictions == test.labels).double().numpy(), BINS) / divisor
    return np.bincount(bins, confidence.double().numpy(), BINS) / divisor, accuracy, count


def calibration_picture(test: EvalOutput, ece: float) -> Picture:
    """Accuracy against confidence, with the intervals of the accuracy, above the share of predictions at each confidence."""
    from regulo.core.figures import new_figure

    confidence, accuracy, count = reliability(test)
    n, nonempty = int(count.sum()), count > 0
    low, high = wilson_interval(accuracy[nonempty] * count[nonempty], count[nonempty])
    figure = new_figure(WIDTH, 4.6)
    ax, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    ax.plot([0, 100], [0, 100], color=LIGHT["muted"], lw=1, ls=":")
    ax.vlines(100 * confidence[nonempty], 100 * low, 100 * high, color=LIGHT["blue"], lw=1.2)
    ax.plot(100 * confidence[nonempty], 100 * accuracy[nonempty], "o", color=LIGHT["blue"], ms=4.5)
    ax.set(ylabel="correct predictions, %", ylim=(0, 103), xlim=(0, 103), yticks=range(0, 101, 20))
    ax.annotate("overconfident", (80, 22), color=LIGHT["muted"], ha="center")
    ax.annotate("underconfident", (22, 80), color=LIGHT["muted"], ha="center")
    edges = 100 * np.arange(BINS) / BINS
    histogram.bar(edges, 100 * count / n, 100 / BINS * 0.9, align="edge", color=LIGHT["cell"])
    histogram.set(xlabel="confidence, %", ylabel="of all, %")
    mean_confidence, mean_accuracy = float((confidence * count).sum() / n), float((accuracy * count).sum() / n)
    verdict = "overconfident" if mean_confidence > mean_accuracy else "underconfident"
    text = (
        f"On {n:,} test images the mean confidence is {100 * mean_confidence:.1f}% and {100 * mean_accuracy:.1f}% of the "
        f"predictions are correct: on the whole {verdict}. Expected calibration error {ece:.3f} ({BINS} equal bins). "
        "Bars: 95% intervals (Wilson); below: the share of predictions in each bin."
    )
    return Picture("calibration", "Calibration: is it as often right as it is sure?", text, figure)


def wilson_interval(correct: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95% interval (Wilson, 1927) of each share `correct` / `n`, both counts (m,): low (m,), high (m,)."""
    from scipy.stats import binomtest

    intervals = [binomtest(round(k), int(total)).proportion_ci(0.95, "wilson") for k, total in zip(correct, n, strict=True)]
    low, high = np.array(intervals).T
    return low, high


def confusion_picture(test: EvalOutput, classes: Sequence[str]) -> Picture:
    """The confusion matrix: for each label, the share of each predicted class."""
    counts = test.confusion_matrix().double().numpy()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    k = len(classes)
    size = WIDTH if k <= 12 else min(14.0, 1.4 + 0.36 * k)
    ax = axes(size, size, grid="")
    heat_map(ax, share, 100 * share if k <= MAX_NAMED_CLASSES else None, "{:.0f}")
    if k <= MAX_NAMED_CLASSES:
        names = [shorten(name, 14) for name in classes]
        ax.set_xticks(np.arange(k) + 0.5, names, rotation=60, ha="right", rotation_mode="anchor")
        ax.set_yticks(np.arange(k) + 0.5, names)
    ax.set(xlabel="prediction", ylabel="label")
    text = (
        f"For each label, the percentage of each prediction, test images, n = {int(counts.sum()):,}. "
        "Correct predictions are on the diagonal."
    )
    return Picture("confusion", "Confusion", text, ax.figure)


def heat_map(ax: Any, strength: np.ndarray, numbers: np.ndarray | None, number_format: str) -> None:
    """Plot strengths 0 to 1 (rows, columns), the first row on top, with the numbers that do not round to 0."""
    rows, columns = strength.shape
    if numbers is None:
        rgba = np.zeros((rows, columns, 4))
        rgba[..., :3], rgba[..., 3] = (0, 114 / 255, 178 / 255), strength
        ax.imshow(rgba, extent=(0, columns, rows, 0), interpolation="nearest")
    else:
        from matplotlib.patches import Rectangle

        for i, j in np.ndindex(rows, columns):
            if strength[i, j] > 0.002:
                ax.add_patch(Rectangle((j, i), 1, 1, facecolor=LIGHT["cell"], alpha=float(strength[i, j]), lw=0))
            text = number_format.format(numbers[i, j])
            if text not in ("0", "nan"):
                ax.text(j + 0.5, i + 0.5, text, ha="center", va="center")
        ax.set(xlim=(0, columns), ylim=(rows, 0))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def top_confusions(test: EvalOutput, classes: Sequence[str], k: int = 8) -> list[tuple[str, str, int, float]]:
    """The k most frequent mistakes: (label, prediction, images, share of the label's images)."""
    counts = test.confusion_matrix().numpy()
    mistakes = counts - np.diag(np.diag(counts))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:k]
    pairs = [divmod(int(index), len(classes)) for index in order]
    return [
        (classes[i], classes[j], int(mistakes[i, j]), float(mistakes[i, j] / counts[i].sum()))
        for i, j in pairs
        if mistakes[i, j] > 0
    ]
