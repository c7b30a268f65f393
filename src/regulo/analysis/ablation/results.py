"""What a study found: study.json, from which the tables, the CSV and the page are made."""

import csv
import datetime
import importlib.metadata
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regulo.analysis.ablation.cells import StudyCell
from regulo.analysis.ablation.columns import columns, values
from regulo.analysis.ablation.runs import StudyRun
from regulo.analysis.ablation.statistics import ERROR, Difference, differences, interactions
from regulo.analysis.ablation.study import Study
from regulo.tracking.environment import describe_hardware


def collect(
    study: Study,
    name: str,
    command: str,
    seconds: float,
    runs: Sequence[StudyRun],
    errors: Mapping[str, str],
    stale: Sequence[str],
) -> dict[str, Any]:
    """The content of study.json. Numbers are in their own units: a column's `factor` leads to the shown one."""
    wanted = columns(study)
    found = values(wanted, runs)
    cells = list(dict.fromkeys(run.cell for run in runs))
    pairs = _pairs(cells) if study.design == "pairs" else {}
    compared = [c for c in wanted if c.compared]
    error = ERROR / len(compared) / (2 if pairs else 1)
    tables = {c.key: np.array([found[cell.label][c.key] for cell in cells], float) for c in compared}  # None becomes nan
    rows = _by_label([cell.label for cell in cells], {k: [None, *differences(table, error)] for k, table in tables.items()})
    beyond = _by_label(list(pairs), {k: interactions(table, list(pairs.values()), error) for k, table in tables.items()})
    return {
        "name": name,
        "title": study.title or name,
        "design": study.design,
        "command": command,
        "date": f"{datetime.date.today()}",
        "hardware": f"{describe_hardware()}, torch {importlib.metadata.version('torch')}",
        "seconds": round(seconds, 1),
        "method": method(len(compared), bool(pairs)),
        "seeds": study.seeds,
        "base": cells[0].label,
        "columns": [c.as_dict() for c in wanted],
        "cells": [_cell(cell, runs, errors, found[cell.label], rows[cell.label], cell is cells[0]) for cell in cells],
        "interactions": [{"label": label, "difference": of} for label, of in beyond.items()],
        "stale": list(stale),
    }


def _by_label(labels: Sequence[str], columns: Mapping[str, Sequence[Difference | None]]) -> dict[str, dict[str, dict[str, Any]]]:
    """The differences of each label by the key of their column, from those of each column in the order of the labels."""
    rows = {key: dict(zip(labels, column, strict=True)) for key, column in columns.items()}
    return {label: {k: d.as_dict() for k, row in rows.items() if (d := row[label]) is not None} for label in labels}


def _pairs(cells: Sequence[StudyCell]) -> dict[str, tuple[int, int, int]]:
    """The rows of A, B and both, by the label of both."""
    place = {cell.techniques: i for i, cell in enumerate(cells)}
    return {c.label: (place[c.techniques[:1]], place[c.techniques[1:]], i) for i, c in enumerate(cells) if len(c.techniques) == 2}


def _cell(
    cell: StudyCell,
    runs: Sequence[StudyRun],
    errors: Mapping[str, str],
    numbers: dict[str, list[float | None]],
    difference: dict[str, dict[str, Any]],
    base: bool,
) -> dict[str, Any]:
    mine = [run for run in runs if run.cell == cell]
    return {
        "label": cell.label,
        "techniques": list(cell.techniques),
        "strength": cell.strength,
        "overrides": list(cell.overrides),
        "runs": [_run(run, errors) for run in mine if run.label_noise is None],
        "noisy_runs": [_run(run, errors) for run in mine if run.label_noise is not None],
        "values": numbers,
        **({} if base else {"difference": difference}),
    }


def _run(run: StudyRun, errors: Mapping[str, str]) -> dict[str, Any]:
    """How a run ended. What failed in an earlier start, and has not been tried again, is on disk."""
    state = run.state()
    known = run.result() if state != "done" else {}
    failed = state != "done" and (run.name in errors or known.get("status") == "failed")
    error = errors.get(run.name) or str(known.get("error", "")) if failed else ""
    status = "done" if state == "done" else "failed" if failed else "missing"
    return {"seed": run.seed, "folder": run.name, "status": status, "error": error}


def method(compared: int, pairs: bool) -> str:
    """How intervals are made, in a few sentences."""
    both = " Half of it goes to the interactions AB − A − B + base (Bonferroni over pairs)." if pairs else ""
    return (
        "Differences to the base are paired by seed. Their noise is that of all cells together: what is left of a number without "
        "the means of cell and seed. Intervals are simultaneous: Dunnett's many-to-one critical value over the rows, Bonferroni "
        f"over the {compared} compared columns; if nothing made a difference, the chance of any mark (*) in the table would be "
        f"at most {100 * ERROR:g}%.{both} Spread is over seeds; all runs share their data."
    )


def spread(some: Sequence[float | None]) -> tuple[int, float | None, float | None]:
    """n, mean and sample standard deviation of what is there."""
    known = [v for v in some if v is not None]
    return len(known), statistics.fmean(known) if known else None, statistics.stdev(known) if len(known) > 1 else None


def tidy(study: Mapping[str, Any]) -> str:
    """table.csv: a row for each cell and column, numbers in their own units (shares of 1, nats, MB)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cell", "column", "n", "mean", "sd", "pairs", "difference", "low", "high", "clear"])
    for cell in study["cells"]:
        for column in study["columns"]:
            known = cell.get("difference", {}).get(column["key"], {})
            compared = [known.get(name) for name in ("n", "mean", "low", "high", "clear")]
            writer.writerow([cell["label"], column["key"], *spread(cell["values"][column["key"]]), *compared])
    for row in study["interactions"]:
        for key, known in row["difference"].items():
            compared = [known[name] for name in ("n", "mean", "low", "high", "clear")]
            writer.writerow([f"interaction of {row['label']}", key, None, None, None, *compared])
    return text.getvalue()


def complete_seeds(study: Mapping[str, Any]) -> list[int]:
    """The seeds of which every run is done."""
    every = [run for cell in study["cells"] for run in (*cell["runs"], *cell["noisy_runs"])]
    return [seed for seed in range(study["seeds"]) if all(run["status"] == "done" for run in every if run["seed"] == seed)]


def unfinished(study: Mapping[str, Any], status: str) -> list[dict[str, Any]]:
    """The runs of this status, "failed" or "missing"."""
    every = [run for cell in study["cells"] for run in (*cell["runs"], *cell["noisy_runs"])]
    return [run for run in every if run["status"] == status]
