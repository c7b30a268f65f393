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
from regulo.core.console import CONSOLE
from regulo.core.files import atomic_write
from regulo.core.paths import redact_home
from regulo.core.text import format_duration


def save_experiment(record: Mapping[str, Any], base: Sequence[str], root: Path) -> tuple[Path, str]:
    """Write the recommended plan, with command, time and expected result in its header; returns the file, and the command.

    It is written into the study's folder, and among the experiments of a checkout, unless that has a file of the name which is
    not the one that this study wrote before.
    """
    plan = recommended_plan(record)
    assert plan
    overrides = [*(word for word in base if word not in DEFAULTS.values()), *plan["overrides"]]
    run = Overrides.from_config(compose.load_config(overrides), explicit=True)
    own, shared = root / f"{record['name']}.yaml", experiment_dir() / f"{record['name']}.yaml"

    def write(file: Path, command: str) -> None:
        atomic_write(file, run.to_experiment(file.stem, redact_home("\n".join(_header(record, plan, command)))))

    file, command, by_name = own, make_command(overrides), make_command([f"experiment={shared.stem}"])
    if shared.parent.is_dir() and (not shared.exists() or _is_same(shared, own)):
        try:
            write(shared, by_name)
            file, command = shared, by_name
        except OSError as error:  # of a checkout that cannot be written to
            CONSOLE.print(f"cannot write {shared}: {error.strerror or error}", soft_wrap=True, markup=False)
    write(own, command)
    return file, command


def _is_same(file: Path, other: Path) -> bool:
    """Whether both have the same content."""
    return other.is_file() and file.read_bytes() == other.read_bytes()


def _header(record: Mapping[str, Any], plan: Mapping[str, Any], command: str) -> list[str]:
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
        f"Written by regulo tune: the plan that it recommends, {plan['label']}.",
        f"  plan      {', '.join(plan['techniques']) or 'no technique'}",
        f"  command   {command}",
        f"  time      about {format_duration((seconds or 0) * epochs)} of training, as it was measured beside other runs",
        f"  expected  {', '.join(results)} (n = {n} seeds, {epochs} epochs)",
    ]
    for column in shown:
        if found := plan["to_default"].get(column.key):
            difference = Difference.from_record(found)
            lines.append(f"            {column.label} minus that of the {DEFAULT} plan: {difference.format(column)}")
    return [*lines, f"  source    {record['command']}, {record['date']}"]


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [v for v in values if v is not None]
    return statistics.fmean(numbers) if numbers else None
