"""The figures of a study's page: effects, trade-offs, strengths, corruptions."""

import statistics
from collections import defaultdict
from typing import Any

import numpy as np

from regulo.analysis.report.page import Picture
from regulo.analysis.report.run_figures import cells
from regulo.analysis.report.study_content import Column, Row, Study
from regulo.analysis.report.style import LIGHT, WIDTH, axes, label_points
from regulo.core.figures import shorten
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder

COLOURS = {"better": "blue", "worse": "red", "differs": "ink", "": "muted"}
ROW = 0.3
"""inches that a row takes"""


def seeds(some: "list[Row]") -> str:
    """n, of rows that may have lost a run."""
    numbers = sorted({row.n for row in some})
    return f"n = {numbers[0]} seeds" if len(numbers) == 1 else f"n = {numbers[0]} to {numbers[-1]} seeds"


def effects(study: Study, column: Column) -> Picture | None:
    """A forest plot: the difference of each cell to the base with its interval, the largest first."""
    rows = [row for row in study.others if column.key in row.difference]
    rows.sort(key=lambda row: row.difference[column.key].mean, reverse=column.better != "low")
    if not rows:
        return None
    ax = axes(0.8 + ROW * len(rows), grid="x")
    f = column.factor
    ax.axvline(0, color=LIGHT["muted"], lw=1)
    for place, row in enumerate(rows):
        d = row.difference[column.key]
        colour = LIGHT[COLOURS[d.mark(column)]]
        if d.low is not None and d.high is not None:
            ax.plot([f * d.low, f * d.high], [place, place], color=colour, lw=1.6, solid_capstyle="butt")
        face = colour if d.significant else LIGHT["paper"]
        ax.plot([f * d.mean], [place], "o", color=colour, mfc=face, ms=6)
        ax.annotate(column.change(d.mean), (1, place), (6, 0), ("axes fraction", "data"), "offset points", va="center")
    _names(ax, rows)
    good = {"high": "right is better", "low": "left is better"}.get(column.better, "")
    ax.set_xlabel(f"difference to {shorten(study.base.label, 16)}, {column.step}" + (f"; {good}" if good else ""))
    interval = "Bars: simultaneous 95% intervals. " if any(row.difference[column.key].low is not None for row in rows) else ""
    text = f"Difference to {study.base.label}, paired by seed, {seeds([study.base, *rows])}. {interval}Filled: clear of zero."
    return Picture(f"effect-{_slug(column.key)}", f"Effect on {column.label}", text, ax.figure)


def trade_off(study: Study, name: str, title: str, across: Column, up: Column, text: str) -> Picture | None:
    """Means of the cells by two numbers, with their seeds."""
    rows = [row for row in study.rows if row.known(across.key) and row.known(up.key)]
    if len(rows) < 2:
        return None
    ax = axes(3.6, grid="both")
    points = []
    for row in rows:
        colour = LIGHT["ink" if row is study.base else "blue"]
        pairs = np.array([row.values[across.key], row.values[up.key]], float)  # None becomes nan, and nan is not drawn
        xs, ys = pairs[0] * across.factor, pairs[1] * up.factor
        ax.plot(xs, ys, "o", color=colour, alpha=0.3, ms=3, mew=0)
        x, y = float(np.nanmean(xs)), float(np.nanmean(ys))
        ax.plot([x], [y], "s" if row is study.base else "o", color=colour, ms=6)
        points.append((x, y, shorten(row.label, 20)))
    ax.margins(0.12)
    ax.set(xlabel=across.title, ylabel=up.title)
    label_points(ax, points)
    note = f"Large: mean over seeds, {seeds(rows)}; small: each seed; square: {study.base.label}. {text}"
    return Picture(name, title, note, ax.figure)


def benefit(study: Study, cost: Column, column: Column) -> Picture | None:
    """What a technique gains against what it costs."""
    rows = [row for row in study.others if row.known(cost.key) and column.key in row.difference]
    if not rows or not study.base.known(cost.key):
        return None
    ax = axes(3.6, grid="both")
    ax.axhline(0, color=LIGHT["muted"], lw=1)
    points = [(cost.factor * statistics.fmean(study.base.known(cost.key)), 0.0, shorten(study.base.label, 20))]
    ax.plot([points[0][0]], [0], "s", color=LIGHT["ink"], ms=6)
    for row in rows:
        d = row.difference[column.key]
        x, y = cost.factor * statistics.fmean(row.known(cost.key)), column.factor * d.mean
        colour = LIGHT[COLOURS[d.mark(column)]]
        ax.plot([x], [y], "o", color=colour, mfc=colour if d.significant else LIGHT["paper"], ms=6)
        points.append((x, y, shorten(row.label, 20)))
    ax.margins(0.12)
    ax.set(xlabel=cost.title, ylabel=f"{column.label}, difference in {column.step}")
    ax.locator_params(axis="x", nbins=6)
    label_points(ax, points, level=0)
    text = (
        f"Mean difference in {column.label} to {study.base.label} (square) against {cost.label}, {seeds([study.base, *rows])}. "
        "Filled: clear of zero, by the simultaneous intervals of the study."
    )
    return Picture("benefit", "Cost against benefit", text, ax.figure)


def dots(study: Study, column: Column) -> Picture | None:
    """Every run, by cell, so that the spread over seeds can be seen."""
    rows = [row for row in study.rows if row.known(column.key)]
    if not rows:
        return None
    rows.sort(key=lambda row: row.mean(column.key) or 0, reverse=column.better != "low")
    ax = axes(0.8 + ROW * len(rows), grid="x")
    for place, row in enumerate(rows):
        colour = LIGHT["ink" if row is study.base else "blue"]
        some = column.factor * np.array(row.known(column.key))
        ax.plot(some, [place] * len(some), "o", color=colour, alpha=0.55, ms=5, mew=0)
        ax.plot([some.mean()] * 2, [place - 0.3, place + 0.3], color=colour, lw=2)
    _names(ax, rows)
    ax.set_xlabel(column.title)
    text = f"Dots are runs, bars their means, {seeds(rows)} each; dark: {study.base.label}. A seed's luck is common to its dots."
    return Picture("runs", f"Every run: {column.label}", text, ax.figure)


def strengths(study: Study, column: Column) -> Picture | None:
    """A number by the strength of the whole recipe."""
    rows = sorted((row for row in study.rows if row.known(column.key)), key=lambda row: row.strength)
    if len(rows) < 2:
        return None
    ax = axes(2.9)
    x = [row.strength for row in rows]
    ax.plot(x, [column.factor * (row.mean(column.key) or 0) for row in rows], "-o", color=LIGHT["blue"], ms=5)
    for row in rows:
        some = row.known(column.key)
        ax.plot([row.strength] * len(some), column.factor * np.array(some), "o", color=LIGHT["blue"], alpha=0.3, ms=3.5, mew=0)
    ax.set(xlabel="strength (1: as written, 0: none)", ylabel=column.title)
    text = f"Mean over seeds (line) and each seed (small dots) by the strength of all techniques together, {seeds(rows)}."
    return Picture(f"strength-{_slug(column.key)}", f"{column.label[:1].upper()}{column.label[1:]} by strength", text, ax.figure)


def corrupted(study: Study) -> Picture | None:
    """Accuracy of each cell on each kind of corrupted images."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in study.rows:
        kinds: dict[str, list[float]] = defaultdict(list)
        for run in row.runs:
            measured = records.read_measures(RunFolder(study.folder / run["folder"])) if run["status"] == "done" else {}
            for key, value in measured.items():
                parts = key.split("/")
                if parts[0] == "corrupted" and len(parts) == 4:
                    kinds[parts[1]].append(value)
        if kinds:
            found[row.label] = kinds
    names = list(dict.fromkeys(kind for kinds in found.values() for kind in kinds))
    if not names:
        return None
    accuracy = 100 * np.array([[statistics.fmean(kinds[k]) if kinds[k] else np.nan for k in names] for kinds in found.values()])
    low, high = np.nanmin(accuracy), np.nanmax(accuracy)
    width = max(WIDTH, 1.3 + 0.46 * len(names))
    ax = axes(1.0 + ROW * len(found), width, grid="")
    cells(ax, np.nan_to_num(0.08 + 0.9 * (accuracy - low) / max(high - low, 1e-9)), accuracy, "{:.0f}")
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(len(found)) + 0.5, [shorten(label, 18) for label in found])
    rows = [row for row in study.rows if row.label in found]
    text = f"Accuracy in percent, mean over severities 1 to 3 and over seeds, {seeds(rows)}; the stronger the colour, the better."
    return Picture("corruptions", "Accuracy on corrupted images", text, ax.figure)


def _names(ax: Any, rows: "list[Row]") -> None:
    ax.set_yticks(range(len(rows)), [shorten(row.label) for row in rows], color=LIGHT["ink"])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _slug(key: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in key)
