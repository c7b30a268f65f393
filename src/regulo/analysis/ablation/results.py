"""The results of a study: the content of study.json, from which the tables, the CSV and the page are made."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regulo.analysis.ablation.cells import StudyCell
from regulo.analysis.ablation.columns import COSTS, list_outcomes, values_by_cell
from regulo.analysis.ablation.runs import StudyRun
from regulo.analysis.ablation.statistics import ERROR, differences, interactions
from regulo.analysis.ablation.study import StudyConfig
from regulo.analysis.study_record import Difference, describe_origin

Differences = Mapping[str, Mapping[str, dict[str, Any]]]
"""by a row's label and a column's key, what study.json has of a difference"""


def collect(
    study: StudyConfig,
    name: str,
    command: str,
    seconds: float,
    runs: Sequence[StudyRun],
    errors: Mapping[str, str],
    stale: Sequence[str],
) -> dict[str, Any]:
    """The content of study.json. Numbers are in their own units: a column's `factor` converts them to the unit that is shown."""
    outcomes = list_outcomes(study)
    columns = [*outcomes, *COSTS]
    values = values_by_cell(columns, runs)
    cells = list(dict.fromkeys(run.cell for run in runs))
    pairs = _pair_rows(cells) if study.design == "pairs" else {}
    error = ERROR / len(outcomes) / (2 if pairs else 1)  # Bonferroni over columns; half of it for the interactions
    tables = {c.key: np.array([values[cell.label][c.key] for cell in cells], float) for c in outcomes}  # None becomes nan
    to_base = _by_label([cell.label for cell in cells[1:]], {key: differences(table, error) for key, table in tables.items()})
    beyond_sum = _by_label(list(pairs), {key: interactions(table, list(pairs.values()), error) for key, table in tables.items()})
    return {
        **describe_origin(name, command, describe_method(len(outcomes), bool(pairs))),
        "title": study.title or name,
        "design": study.design,
        "seconds": round(seconds, 1),
        "seeds": study.seeds,
        "base": cells[0].label,
        "columns": [vars(c) for c in columns],
        "cells": [_cell_record(cell, runs, errors, values[cell.label], to_base) for cell in cells],
        "interactions": [{"label": label, "difference": difference} for label, difference in beyond_sum.items()],
        "stale": list(stale),
    }


def _by_label(labels: Sequence[str], columns: Mapping[str, Sequence[Difference | None]]) -> Differences:
    """The differences by label and column, from those of each column in the order of the labels. None is left out."""
    records: dict[str, dict[str, dict[str, Any]]] = {label: {} for label in labels}
    for key, column in columns.items():
        for label, difference in zip(labels, column, strict=True):
            if difference is not None:
                records[label][key] = difference.as_dict()
    return records


def _pair_rows(cells: Sequence[StudyCell]) -> dict[str, tuple[int, int, int]]:
    """By the label of each cell with two techniques A and B: the rows of A, of B and of both."""
    index = {cell.techniques: i for i, cell in enumerate(cells)}
    return {c.label: (index[c.techniques[:1]], index[c.techniques[1:]], i) for i, c in enumerate(cells) if len(c.techniques) == 2}


def _cell_record(
    cell: StudyCell,
    runs: Sequence[StudyRun],
    errors: Mapping[str, str],
    values: dict[str, list[float | None]],
    to_base: Differences,
) -> dict[str, Any]:
    """What study.json has of a cell; the base has no difference."""
    own = [run for run in runs if run.cell == cell]
    return {
        "label": cell.label,
        "techniques": list(cell.techniques),
        "strength": cell.strength,
        "overrides": list(cell.overrides),
        "runs": [{"seed": run.seed, **run.record(errors)} for run in own if run.label_noise is None],
        "noisy_runs": [{"seed": run.seed, **run.record(errors)} for run in own if run.label_noise is not None],
        "values": values,
        **({"difference": to_base[cell.label]} if cell.label in to_base else {}),
    }


def describe_method(outcomes: int, pairs: bool) -> str:
    """How intervals are made, in a few sentences."""
    both = " Half of it goes to the interactions AB − A − B + base (Bonferroni over pairs)." if pairs else ""
    return (
        "Differences to the base are paired by seed. Their noise is estimated from all cells together: it is what is left of a "
        "number without the means of its cell and its seed. Intervals are simultaneous: Dunnett's many-to-one critical value "
        f"over the rows, Bonferroni over the {outcomes} compared columns; if nothing made a difference, the chance of any mark "
        f"(*) in the table would be at most {100 * ERROR:g}%.{both} Spread is over seeds; all runs share their data."
    )


def spread(values: Sequence[float | None]) -> tuple[int, float | None, float | None]:
    """n, mean and sample standard deviation of the values that are not None."""
    available = [v for v in values if v is not None]
    mean = statistics.fmean(available) if available else None
    return len(available), mean, statistics.stdev(available) if len(available) > 1 else None


def to_csv(study: Mapping[str, Any]) -> str:
    """table.csv: a row for each cell and column, numbers in their own units (shares of 1, nats, MB)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cell", "column", "n", "mean", "sd", "pairs", "difference", "low", "high", "clear"])
    fields = ("n", "mean", "low", "high", "clear")
    for cell in study["cells"]:
        for column in study["columns"]:
            difference = cell.get("difference", {}).get(column["key"], {})
            numbers = spread(cell["values"][column["key"]])
            writer.writerow([cell["label"], column["key"], *numbers, *(difference.get(field) for field in fields)])
    for row in study["interactions"]:
        for key, difference in row["difference"].items():
            label = f"interaction of {row['label']}"
            writer.writerow([label, key, None, None, None, *(difference[field] for field in fields)])
    return text.getvalue()


def _all_runs(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [run for cell in study["cells"] for run in (*cell["runs"], *cell["noisy_runs"])]


def complete_seeds(study: Mapping[str, Any]) -> list[int]:
    """The seeds of which every run is done."""
    unfinished_seeds = {run["seed"] for run in _all_runs(study) if run["status"] != "done"}
    return [seed for seed in range(study["seeds"]) if seed not in unfinished_seeds]


def runs_with_status(study: Mapping[str, Any], status: str) -> list[dict[str, Any]]:
    """The runs of this status, "done", "failed" or "missing"."""
    return [run for run in _all_runs(study) if run["status"] == status]
