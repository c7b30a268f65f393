"""A study in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from regulo.analysis.ablation.results import complete_seeds, spread, unfinished

LABEL, WIDTH = 22, 18
"""characters that a row's label and a column take"""


def show(study: Mapping[str, Any], stale: Mapping[str, str]) -> None:
    """Print the table, how to read it, and what is missing from it."""
    from regulo.core.console import CONSOLE

    CONSOLE.print(f"\n{study['title']}", style="bold", soft_wrap=True)
    _table(study["cells"], study["columns"])
    if study["interactions"]:
        CONSOLE.print("interactions: what two do beyond the sum of each", style="bold")
        rows = [{"values": {}, "runs": [], "noisy_runs": [], **row} for row in study["interactions"]]
        _table(rows, [c for c in study["columns"] if any(c["key"] in row["difference"] for row in rows)])
    base = study["base"]
    reading = f"mean ± standard deviation over seeds; below, the difference to {base!r} ± its simultaneous interval, * if clear"
    CONSOLE.print(reading, style="dim")
    CONSOLE.print(study["method"], style="dim")
    for run in unfinished(study, "failed"):
        CONSOLE.print(f"failed: {run['folder']}: {run['error']}", style="red", soft_wrap=True)
    missing = unfinished(study, "missing")
    if missing:
        seeds = ", ".join(map(str, complete_seeds(study))) or "none"
        CONSOLE.print(f"{len(missing)} runs were not started; complete seeds: {seeds}; the same command goes on", soft_wrap=True)
    for folder, reason in stale.items():
        CONSOLE.print(f"stale, kept and not used: {folder}: {reason}", soft_wrap=True)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, Any]]) -> None:
    """As many columns beside each other as there is room for, the rest below."""
    from rich.table import Table

    from regulo.core.console import CONSOLE, STYLE

    room = max(1, (CONSOLE.width - LABEL) // WIDTH)
    for begin in range(0, len(columns), room):
        some = columns[begin : begin + room]
        table = Table("", *(f"{c['label']}, {c['unit']}" for c in some), **STYLE)
        for column in table.columns:
            column.overflow = "fold"
        for column in table.columns[1:]:
            column.justify = "right"
        for row in rows:
            table.add_row(_label(row), *(_entry(row, c) for c in some))
        CONSOLE.print(table)


def _label(row: Mapping[str, Any]) -> str:
    every = [*row["runs"], *row["noisy_runs"]]
    failed = sum(run["status"] == "failed" for run in every)
    done = sum(run["status"] == "done" for run in row["runs"])
    count = f"\nn = {done}" if every else ""
    return f"{row['label']}{count}" + (f", {failed} FAILED" if failed else "")


def _entry(row: Mapping[str, Any], column: Mapping[str, Any]) -> str:
    """Mean and spread, and below them the difference to the base."""
    key, factor, digits = column["key"], column["factor"], column["digits"]
    _, mean, sd = spread(row["values"].get(key, []))
    first = "–" if mean is None else f"{factor * mean:.{digits}f}" + ("" if sd is None else f" ± {factor * sd:.{digits}f}")
    lines = [first] if row["values"] else []
    difference = row.get("difference", {}).get(key)
    if difference:
        half = "" if difference["low"] is None else f" ± {factor * (difference['high'] - difference['mean']):.{digits}f}"
        lines.append(f"{factor * difference['mean']:+.{digits}f}{half}{' *' if difference['clear'] else ''}")
    return "\n".join(lines)
