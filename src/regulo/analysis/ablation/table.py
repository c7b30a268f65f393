"""The table of a study in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from regulo.analysis.ablation.results import complete_seeds, runs_with_status, spread

LABEL_WIDTH, COLUMN_WIDTH = 22, 18
"""in characters"""


def print_study(study: Mapping[str, Any], stale: Mapping[str, str]) -> None:
    """Print the table, how to read it, and what is missing from it. stale: the reason by the folder of each stale run."""
    from regulo.core.console import CONSOLE

    CONSOLE.print(f"\n{study['title']}", style="bold", soft_wrap=True)
    _print_table(study["cells"], study["columns"])
    if study["interactions"]:
        CONSOLE.print("interactions: what two do beyond the sum of each", style="bold")
        rows = [{"values": {}, "runs": [], "noisy_runs": [], **row} for row in study["interactions"]]
        _print_table(rows, [c for c in study["columns"] if any(c["key"] in row["difference"] for row in rows)])
    legend = (
        f"mean ± standard deviation over seeds; below, the difference to {study['base']!r} ± its simultaneous interval, "
        "* if significant"
    )
    CONSOLE.print(legend, style="dim")
    CONSOLE.print(study["method"], style="dim")
    for run in runs_with_status(study, "failed"):
        CONSOLE.print(f"failed: {run['folder']}: {run['error']}", style="red", soft_wrap=True)
    missing = runs_with_status(study, "missing")
    if missing:
        seeds = ", ".join(map(str, complete_seeds(study))) or "none"
        message = f"{len(missing)} runs were not started; complete seeds: {seeds}; run the same command to continue"
        CONSOLE.print(message, soft_wrap=True)
    for folder, reason in stale.items():
        CONSOLE.print(f"stale, kept and not used: {folder}: {reason}", soft_wrap=True)


def _print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, Any]]) -> None:
    """As many columns next to each other as fit; the rest in further tables below."""
    from rich.table import Table

    from regulo.core.console import CONSOLE, STYLE

    fit = max(1, (CONSOLE.width - LABEL_WIDTH) // COLUMN_WIDTH)
    for start in range(0, len(columns), fit):
        part = columns[start : start + fit]
        table = Table("", *(f"{c['label']}, {c['unit']}" for c in part), **STYLE)
        for column in table.columns:
            column.overflow = "fold"
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(_row_label(row), *(_entry(row, c) for c in part))
        CONSOLE.print(table)


def _row_label(row: Mapping[str, Any]) -> str:
    runs = [*row["runs"], *row["noisy_runs"]]
    num_failed = sum(run["status"] == "failed" for run in runs)
    num_done = sum(run["status"] == "done" for run in row["runs"])
    count = f"\nn = {num_done}" if runs else ""
    return f"{row['label']}{count}" + (f", {num_failed} FAILED" if num_failed else "")


def _entry(row: Mapping[str, Any], column: Mapping[str, Any]) -> str:
    """Mean and spread, and below them the difference to the base."""
    key, factor, digits = column["key"], column["factor"], column["digits"]
    lines = []
    if row["values"]:
        _, mean, sd = spread(row["values"].get(key, []))
        deviation = "" if sd is None else f" ± {factor * sd:.{digits}f}"
        lines.append("–" if mean is None else f"{factor * mean:.{digits}f}{deviation}")
    difference = row.get("difference", {}).get(key)
    if difference:
        half = "" if difference["low"] is None else f" ± {factor * (difference['high'] - difference['mean']):.{digits}f}"
        lines.append(f"{factor * difference['mean']:+.{digits}f}{half}{' *' if difference['clear'] else ''}")
    return "\n".join(lines)
