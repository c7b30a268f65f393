"""The results of a cross-validation in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from regulo.analysis.study_record import Column, Difference
from regulo.core.errors import one_line


def print_results(record: Mapping[str, Any], num_suspects: int) -> None:
    """Print the scores of each fold, their mean and interval, the comparison, and the first doubtful labels."""
    from regulo.core.console import CONSOLE

    columns = [Column(**column) for column in record["columns"]]
    for plan in record["plans"]:
        CONSOLE.print(f"\n{record['name']}: {plan['label']}", style="bold", soft_wrap=True)
        _print_plan(plan, columns, record["folds"])
    for column in columns:
        if difference := record["difference"].get(column.key):
            interval = Difference.from_record(difference)
            mark = " *" if interval.significant else ""
            unit = f", {column.difference_unit}" if column.difference_unit else ""
            text = f"plan − against, {column.label}{unit}: {interval.format(column)}{mark} (n = {interval.n} folds)"
            CONSOLE.print(text, soft_wrap=True)
    CONSOLE.print(record["method"], style="dim")
    for plan in record["plans"]:
        for run in plan["runs"]:
            if run["status"] != "done":
                CONSOLE.print(f"{run['status']}: {run['folder']}: {run['error']}", style="red", soft_wrap=True)
    suspects = record["suspects"]
    if suspects:
        CONSOLE.print(f"labels that may be wrong: {len(suspects):,}; the first ones:")
        for suspect in suspects[:num_suspects]:
            line = f"  {suspect['image']}: {suspect['label']} → {suspect['suggestion']}?"
            CONSOLE.print(one_line(f"{line} (probability of the label {suspect['self_confidence']:.3f})"), soft_wrap=True)


def _print_plan(plan: Mapping[str, Any], columns: Sequence[Column], folds: int) -> None:
    from rich.table import Table

    from regulo.core.console import CONSOLE, STYLE

    table = Table("fold", *(column.title for column in columns), **STYLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for fold in range(folds):
        values = [plan["values"][column.key][fold] for column in columns]
        table.add_row(str(fold), *("–" if v is None else c.format_value(v) for c, v in zip(columns, values, strict=True)))
    means = [plan["mean"].get(column.key) for column in columns]
    table.add_section()
    table.add_row("mean", *(c.format_value(m["mean"]) if m else "–" for c, m in zip(columns, means, strict=True)))
    ends = [
        f"{c.format_value(m['low'])} to {c.format_value(m['high'])}" if m and m["low"] is not None else "–"
        for c, m in zip(columns, means, strict=True)
    ]
    table.add_row("95% interval", *ends)
    CONSOLE.print(table)
