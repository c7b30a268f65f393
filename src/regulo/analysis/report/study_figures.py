"""The figures of a study's page: effects, trade-offs, strengths, corruptions."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from regulo.analysis.report.page import Picture
from regulo.analysis.report.run_figures import heat_map
from regulo.analysis.report.study_content import ResultRow, StudyResults
from regulo.analysis.report.style import LIGHT, WIDTH, axes, label_points
from regulo.analysis.study_record import Column
from regulo.core.figures import shorten
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder

MARK_COLORS = {"better": "blue", "worse": "red", "differs": "ink", "": "muted"}
ROW_HEIGHT = 0.3
"""inches"""


def seed_count(rows: Sequence[ResultRow]) -> str:
    """The number of seeds of these rows; a range, if some runs are missing."""
    counts = sorted({row.n for row in rows})
    return f"n = {counts[0]} seeds" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} seeds"


def effects(study: StudyResults, column: Column) -> Picture | None:
    """A forest plot: the difference of each cell to the base with its interval, the best first."""
    rows = [row for row in study.others if column.key in row.difference]
    rows.sort(key=lambda row: row.difference[column.key].mean, reverse=column.better != "low")
    if not rows:
        return None
    ax = axes(0.8 + ROW_HEIGHT * len(rows), grid="x")
    factor = column.factor
    ax.axvline(0, color=LIGHT["muted"], lw=1)
    for i, row in enumerate(rows):
        difference = row.difference[column.key]
        color = LIGHT[MARK_COLORS[difference.mark(column)]]
        if difference.low is not None and difference.high is not None:
            ax.plot([factor * difference.low, factor * difference.high], [i, i], color=color, lw=1.6, solid_capstyle="butt")
        face = color if difference.significant else LIGHT["paper"]
        ax.plot([factor * difference.mean], [i], "o", color=color, mfc=face, ms=6)
        label = column.format_change(difference.mean)
        ax.annotate(label, (1, i), (6, 0), ("axes fraction", "data"), "offset points", va="center")
    _label_rows(ax, rows)
    direction = {"high": "; right is better", "low": "; left is better"}.get(column.better, "")
    ax.set_xlabel(f"difference to {shorten(study.base.label, 16)}, {column.difference_unit}{direction}")
    has_intervals = any(row.difference[column.key].low is not None for row in rows)
    bars = "Bars: simultaneous 95% intervals. " if has_intervals else ""
    text = f"Difference to {study.base.label}, paired by seed, {seed_count([study.base, *rows])}. {bars}Filled: significant."
    return Picture(f"effect-{_slug(column.key)}", f"Effect on {column.label}", text, ax.figure)


def trade_off(study: StudyResults, name: str, title: str, x_column: Column, y_column: Column, text: str) -> Picture | None:
    """The cells by two numbers: the mean of each, and its seeds."""
    rows = [row for row in study.rows if row.available(x_column.key) and row.available(y_column.key)]
    if len(rows) < 2:
        return None
    ax = axes(3.6, grid="both")
    points = []
    for row in rows:
        color = LIGHT["ink" if row is study.base else "blue"]
        pairs = np.array([row.values[x_column.key], row.values[y_column.key]], float)  # None becomes nan, which is not plotted
        xs, ys = pairs[0] * x_column.factor, pairs[1] * y_column.factor
        ax.plot(xs, ys, "o", color=color, alpha=0.3, ms=3, mew=0)
        x, y = float(np.nanmean(xs)), float(np.nanmean(ys))
        ax.plot([x], [y], "s" if row is study.base else "o", color=color, ms=6)
        points.append((x, y, shorten(row.label, 20)))
    ax.margins(0.12)
    ax.set(xlabel=x_column.title, ylabel=y_column.title)
    label_points(ax, points)
    note = f"Large: mean over seeds, {seed_count(rows)}; small: each seed; square: {study.base.label}. {text}"
    return Picture(name, title, note, ax.figure)


def benefit(study: StudyResults, cost: Column, column: Column) -> Picture | None:
    """What each cell gains against what it costs."""
    base_costs = study.base.available(cost.key)
    rows = [row for row in study.others if row.available(cost.key) and column.key in row.difference]
    if not rows or not base_costs:
        return None
    ax = axes(3.6, grid="both")
    ax.axhline(0, color=LIGHT["muted"], lw=1)
    points = [(cost.factor * statistics.fmean(base_costs), 0.0, shorten(study.base.label, 20))]
    ax.plot([points[0][0]], [0], "s", color=LIGHT["ink"], ms=6)
    for row in rows:
        difference = row.difference[column.key]
        x, y = cost.factor * statistics.fmean(row.available(cost.key)), column.factor * difference.mean
        color = LIGHT[MARK_COLORS[difference.mark(column)]]
        ax.plot([x], [y], "o", color=color, mfc=color if difference.significant else LIGHT["paper"], ms=6)
        points.append((x, y, shorten(row.label, 20)))
    ax.margins(0.12)
    ax.set(xlabel=cost.title, ylabel=f"{column.label}, difference in {column.difference_unit}")
    ax.locator_params(axis="x", nbins=6)
    label_points(ax, points, level=0)
    text = (
        f"Mean difference in {column.label} to {study.base.label} (square) against {cost.label}, "
        f"{seed_count([study.base, *rows])}. Filled: significant, by the simultaneous intervals of the study."
    )
    return Picture("benefit", "Cost against benefit", text, ax.figure)


def dots(study: StudyResults, column: Column) -> Picture | None:
    """Every run, by cell, so that the spread over seeds can be seen."""
    rows = [row for row in study.rows if row.available(column.key)]
    if not rows:
        return None
    rows.sort(key=lambda row: row.mean(column.key) or 0, reverse=column.better != "low")
    ax = axes(0.8 + ROW_HEIGHT * len(rows), grid="x")
    for i, row in enumerate(rows):
        color = LIGHT["ink" if row is study.base else "blue"]
        values = column.factor * np.array(row.available(column.key))
        ax.plot(values, [i] * len(values), "o", color=color, alpha=0.55, ms=5, mew=0)
        ax.plot([values.mean()] * 2, [i - 0.3, i + 0.3], color=color, lw=2)
    _label_rows(ax, rows)
    ax.set_xlabel(column.title)
    text = (
        f"Dots are runs, bars their means, {seed_count(rows)} each; dark: {study.base.label}. "
        "The luck of a seed is common to the dots of all rows."
    )
    return Picture("runs", f"Every run: {column.label}", text, ax.figure)


def strengths(study: StudyResults, column: Column) -> Picture | None:
    """A number by the strength of all techniques together."""
    rows = sorted((row for row in study.rows if row.available(column.key)), key=lambda row: row.strength)
    if len(rows) < 2:
        return None
    ax = axes(2.9)
    means = [column.factor * (row.mean(column.key) or 0) for row in rows]
    ax.plot([row.strength for row in rows], means, "-o", color=LIGHT["blue"], ms=5)
    for row in rows:
        values = column.factor * np.array(row.available(column.key))
        ax.plot([row.strength] * len(values), values, "o", color=LIGHT["blue"], alpha=0.3, ms=3.5, mew=0)
    ax.set(xlabel="strength (1: as written, 0: none)", ylabel=column.title)
    text = f"Mean over seeds (line) and each seed (small dots) by the strength of all techniques together, {seed_count(rows)}."
    return Picture(f"strength-{_slug(column.key)}", f"{column.label[:1].upper()}{column.label[1:]} by strength", text, ax.figure)


def corruptions(study: StudyResults) -> Picture | None:
    """A heat map: the accuracy of each cell on each kind of corrupted images."""
    by_kind = [(row, kinds) for row in study.rows if (kinds := _accuracies_by_kind(study, row))]
    names = list(dict.fromkeys(kind for _, kinds in by_kind for kind in kinds))
    if not names:
        return None
    rows = [row for row, _ in by_kind]
    accuracy = 100 * np.array([[statistics.fmean(kinds[k]) if kinds.get(k) else np.nan for k in names] for _, kinds in by_kind])
    low, high = np.nanmin(accuracy), np.nanmax(accuracy)
    ax = axes(1.0 + ROW_HEIGHT * len(rows), max(WIDTH, 1.3 + 0.46 * len(names)), grid="")
    heat_map(ax, np.nan_to_num(0.08 + 0.9 * (accuracy - low) / max(high - low, 1e-9)), accuracy, "{:.0f}")
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(len(rows)) + 0.5, [shorten(row.label, 18) for row in rows])
    text = (
        f"Accuracy in percent, mean over severities 1 to 3 and over seeds, {seed_count(rows)}; "
        "the stronger the color, the better."
    )
    return Picture("corruptions", "Accuracy on corrupted images", text, ax.figure)


def _accuracies_by_kind(study: StudyResults, row: ResultRow) -> dict[str, list[float]]:
    """The accuracies in 0 to 1 of a row's finished runs, at all severities, by the kind of corruption."""
    kinds: dict[str, list[float]] = defaultdict(list)
    for run in row.runs:
        measures = records.read_measures(RunFolder(study.folder / run["folder"])) if run["status"] == "done" else {}
        for key, value in measures.items():
            parts = key.split("/")  # corrupted/<kind>/<severity>/acc
            if parts[0] == "corrupted" and len(parts) == 4:
                kinds[parts[1]].append(value)
    return kinds


def _label_rows(ax: Any, rows: Sequence[ResultRow]) -> None:
    """Label the rows of a plot by their names, the first on top."""
    ax.set_yticks(range(len(rows)), [shorten(row.label) for row in rows], color=LIGHT["ink"])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _slug(key: str) -> str:
    """A column's key as part of an id."""
    return "".join(c if c.isalnum() else "-" for c in key)
