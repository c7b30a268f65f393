"""Makes a picture of the effects in a study, for the documents:

    .venv/bin/python scripts/figure_study.py docs/figures/lesson.png docs/studies/lesson test/acc gap/acc corrupted/acc

Each column of the study gets a panel: the difference of each technique to the base with its simultaneous 95% interval, in the
order of the first panel.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from regulo.analysis.report import study_content
from regulo.analysis.report.study_content import StudyResults
from regulo.analysis.report.style import LIGHT, figure_style
from regulo.analysis.study_record import Column

COLORS = {"better": LIGHT["blue"], "worse": LIGHT["red"]}


def draw_panel(ax: "object", study: StudyResults, column: Column, labels: list[str]) -> None:
    """Draw the panel of one column."""
    ax.axvline(0, color=LIGHT["muted"], lw=1)  # type: ignore[attr-defined]
    for y, label in enumerate(labels):
        difference = next(row for row in study.others if row.label == label).difference[column.key]
        color = COLORS.get(difference.mark(column), LIGHT["muted"])
        mean, low, high = (column.factor * (v or 0) for v in (difference.mean, difference.low, difference.high))
        ax.plot([low, high], [y, y], color=color, lw=1.8)  # type: ignore[attr-defined]
        ax.plot([mean], [y], "o", color=color, mfc=color if difference.significant else "white", ms=6)  # type: ignore[attr-defined]
    ax.set_title(column.label, fontsize=10)  # type: ignore[attr-defined]
    ax.set_xlabel(f"difference to base, {column.difference_unit}", fontsize=9)  # type: ignore[attr-defined]
    ax.grid(True, axis="x", color="#e5e7eb")  # type: ignore[attr-defined]


def main() -> None:
    """Draw all panels."""
    output, folder, *keys = sys.argv[1:]
    study = study_content.read(Path(folder))
    columns = [next(c for c in study.columns if c.key == key) for key in keys]
    first = columns[0]
    rows = sorted(study.others, key=lambda row: row.difference[first.key].mean, reverse=first.better == "low")
    labels = [row.label for row in rows]
    with figure_style():
        figure = Figure(figsize=(3.4 * len(columns) + 1.4, 0.9 + 0.27 * len(labels)), layout="constrained", facecolor="white")
        axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for ax, column in zip(axes, columns, strict=True):
            draw_panel(ax, study, column, labels)
        axes[0].set_yticks(range(len(labels)), labels, fontsize=9)
        figure.savefig(output, dpi=150, transparent=False)


if __name__ == "__main__":
    main()
