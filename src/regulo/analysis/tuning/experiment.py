"""The recommended plan as an experiment that `regulo train` takes."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regulo.analysis.doctor.autofix import experiment_dir
from regulo.analysis.launchers.runs import DEFAULTS
from regulo.analysis.study_record import Column, Difference
from regulo.analysis.tuning.proof import COST, DEFAULT
from regulo.analysis.tuning.results import recommended_plan
from regulo.config import compose
from regulo.config.overrides import Overrides, make_command
from regulo.core.files import atomic_write
from regulo.core.paths import redact_home
from regulo.core.text import format_duration

MARK = "Written by regulo tune"


def experiment_file(name: str, root: Path) -> Path:
    """Where the experiment is written: among those of a checkout, or else into the study's folder.

    A file of that name that this command did not write is not touched.
    """
    folder = experiment_dir()
    file = folder / f"{name}.yaml"
    if folder.is_dir() and (not file.exists() or MARK in file.read_text(encoding="utf-8", errors="replace")[:500]):
        return file
    return root / f"{name}.yaml"


def save_experiment(record: Mapping[str, Any], base: Sequence[str], root: Path) -> Path:
    """Write the recommended plan, with command, time and expected result in its header; returns the file."""
    plan = recommended_plan(record)
    assert plan
    file = experiment_file(record["name"], root)
    overrides = [*(word for word in base if word not in DEFAULTS.values()), *plan["overrides"]]
    run = Overrides.from_config(compose.load_config(overrides), explicit=True)
    text = run.to_experiment(file.stem, redact_home("\n".join(_header(record, plan, file))))
    atomic_write(file, text)
    return file


def _header(record: Mapping[str, Any], plan: Mapping[str, Any], file: Path) -> list[str]:
    columns = [Column(**column) for column in record["proof"]["columns"]]
    shown = [c for c in columns if c.key.startswith("test/") or c.key == "gap/acc"]
    seconds = _mean(plan["values"][COST])
    epochs = record["rungs"][-1]
    results = [
        f"{c.label} {c.format_value(m)}{'%' if c.unit == '%' else f' {c.unit}' if c.unit else ''}"
        for c in shown
        if (m := _mean(plan["values"][c.key])) is not None
    ]
    n = sum(v is not None for v in plan["values"][record["monitor"]])
    lines = [
        f"{MARK}: the plan that it recommends, {plan['label']}.",
        f"  plan      {', '.join(plan['techniques']) or 'no technique'}",
        f"  command   {make_command([f'experiment={file.stem}'])}   from {experiment_dir() / file.name}",
        f"  time      about {format_duration((seconds or 0) * epochs)} of training, as it was measured beside other runs",
        f"  expected  {', '.join(results)} (n = {n} seeds, {epochs} epochs)",
    ]
    for column in shown:
        if found := plan["to_default"].get(column.key):
            difference = Difference(*(found[key] for key in ("n", "mean", "low", "high")))
            lines.append(f"            {column.label} minus that of the {DEFAULT} plan: {difference.format(column)}")
    return [*lines, f"  source    {record['command']}, {record['date']}"]


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [v for v in values if v is not None]
    return statistics.fmean(numbers) if numbers else None
