"""The figures of a study's page: the runs of the search, what mattered, and the values of numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regulo.analysis.report.page import Picture
from regulo.analysis.report.study_figures import ROW_HEIGHT
from regulo.analysis.report.style import LIGHT, axes
from regulo.core.figures import shorten

MAX_CURVES = 6
"""numbers whose values are shown"""
MIN_POINTS = 6
"""plans without which a number's values are not shown"""


def search_history(record: Mapping[str, Any]) -> Picture | None:
    """Every run of the search in the order in which they began, by the rung, and the best so far of the longest rung."""
    trials = [t for t in record["trials"] if t["value"] is not None]
    if len(trials) < 2:
        return None
    ax = axes(3.0, grid="y")
    colors = ["muted", "blue", "red", "green", "ink", "ink"]
    rungs = record["rungs"]
    low, high = np.percentile([t["value"] for t in trials], (0, 90))
    for rung, color in zip(rungs, _rung_colors(rungs, colors), strict=True):
        points = [(i, t["value"]) for i, t in enumerate(trials) if t["epochs"] == rung]
        if points:
            xs, ys = np.array(points).T
            ax.plot(xs, ys, "o", color=LIGHT[color], ms=4, mew=0, alpha=0.8, label=f"{rung} epochs")
    if record["mode"] == "min":
        ax.set_ylim(low - 0.1 * (high - low + 1e-9), high + 0.5 * (high - low + 1e-9))
    ax.set(xlabel="runs of the search", ylabel=record["monitor"])
    ax.legend(frameon=False, loc="upper right")
    text = f"{record['monitor']} at the end of each run of the search, n = {len(trials)} runs; very bad ones may lie outside."
    return Picture("search", "The search", text, ax.figure)


def _rung_colors(rungs: Sequence[int], colors: Sequence[str]) -> list[str]:
    return list(colors[: len(rungs)]) if len(rungs) > 1 else ["blue"]


def trade_off(record: Mapping[str, Any]) -> Picture | None:
    """The monitor of each plan against the second objective; None with one objective."""
    trials = [t for t in record["trials"] if t["value"] is not None and t["others"]]
    if len(trials) < 2:
        return None
    ax = axes(3.0, grid="both")
    xs, ys = [t["others"][0] for t in trials], [t["value"] for t in trials]
    ax.plot(xs, ys, "o", color=LIGHT["blue"], ms=4.5, mew=0, alpha=0.7)
    ax.set(xlabel=record["objectives"][1], ylabel=record["monitor"])
    text = f"Each of n = {len(trials)} runs of the search by its first two objectives."
    return Picture("objectives", "Two objectives", text, ax.figure)


def importance(record: Mapping[str, Any]) -> Picture | None:
    """The importance of the choices with their intervals, the largest on top."""
    rows = record["importance"][:12]
    if not rows:
        return None
    ax = axes(0.8 + ROW_HEIGHT * len(rows), grid="x")
    for i, row in enumerate(rows):
        ax.plot([row["low"], row["high"]], [i, i], color=LIGHT["blue"], lw=1.6, solid_capstyle="butt")
        ax.plot([row["share"]], [i], "o", color=LIGHT["blue"], ms=6)
    ax.set_yticks(range(len(rows)), [shorten(row["name"]) for row in rows], color=LIGHT["ink"])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel("share in what tells the best plans from all")
    plans = len({t["plan"] for t in record["trials"] if t["value"] is not None and t["epochs"] == record["rungs"][0]})
    text = f"PED-ANOVA over n = {plans} plans in runs of {record['rungs'][0]} epochs; bars: 90% bootstrap intervals."
    return Picture("importance", "Which choices mattered", text, ax.figure)


def strength_curves(record: Mapping[str, Any]) -> list[Picture]:
    """For the numbers that most plans have: the result of each plan against the value of the number."""
    rung = record["rungs"][0]
    trials = [t for t in record["trials"] if t["epochs"] == rung and t["value"] is not None]
    counts = {
        key: sum(_is_number(t["params"].get(key)) for t in trials)
        for t in trials
        for key in t["params"]
        if "." in key or key == "strength"
    }
    pictures = []
    for key in sorted(counts, key=lambda k: (-counts[k], k))[:MAX_CURVES]:
        points = np.array([(t["params"][key], t["value"]) for t in trials if _is_number(t["params"].get(key))], float)
        if len(points) < MIN_POINTS:
            continue
        ax = axes(2.6, grid="both")
        ax.plot(points[:, 0], points[:, 1], "o", color=LIGHT["blue"], ms=4.5, mew=0, alpha=0.7)
        if "log" in str(record["searched"].get(key, "")):
            use_log_scale(ax)
        low, high = np.percentile(points[:, 1], (0, 90))
        if record["mode"] == "min" and high > low:
            ax.set_ylim(low - 0.1 * (high - low), high + 0.5 * (high - low))
        ax.set(xlabel=key, ylabel=record["monitor"])
        text = f"{record['monitor']} after {rung} epochs by {key}, n = {len(points)} plans that differ in other choices, too."
        pictures.append(Picture(f"curve-{_slug(key)}", key, text, ax.figure))
    return pictures


def use_log_scale(ax: Any) -> None:
    """A logarithmic axis with plain numbers, because figures here do not read matplotlib's mathematical notation."""
    from matplotlib.ticker import LogLocator, NullLocator

    ax.set_xscale("log")
    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _slug(key: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in key)
