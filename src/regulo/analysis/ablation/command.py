"""`regulo ablate`: run what is not finished of a study, and show which technique helped."""

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo.core.errors import InputError
from regulo.core.files import atomic_write
from regulo.core.paths import redact_home
from regulo.core.program import PROGRAM

if TYPE_CHECKING:
    from regulo.analysis.ablation.cells import StudyCell
    from regulo.analysis.ablation.study import StudyArgs
    from regulo.config.schema import Config

ROOT = Path("runs") / "studies"


def ablate(arguments: Sequence[str]) -> int:
    """Run what is not finished of a study, and show its table.

    Returns the exit code: 0 if all runs ended well or wait for a larger budget, 1 if one failed. Raises InputError if the study
    is not valid, or if another process is running it.
    """
    from regulo.analysis.ablation.study import parse_study_args

    args = parse_study_args(arguments)

    from regulo.analysis.ablation.cells import check_cells
    from regulo.analysis.ablation.results import runs_with_status
    from regulo.analysis.launchers.runs import only_one_process

    configs = check_cells(args.study)
    root = (ROOT / args.name).absolute()
    with only_one_process(root, "regulo ablate"):
        record = _run_study(args, configs, root, shlex.join([PROGRAM, "ablate", *arguments]))
    return 1 if runs_with_status(record, "failed") else 0


def _run_study(args: "StudyArgs", configs: Mapping["StudyCell", "Config"], root: Path, command: str) -> dict[str, Any]:
    """Run what is not finished, write the results, print the table; returns the content of study.json."""
    from regulo.analysis.ablation import cells, results, table
    from regulo.analysis.ablation.runs import plan_runs, stale_runs
    from regulo.analysis.launchers.runner import run_all
    from regulo.core.console import CONSOLE

    start = time.perf_counter()
    runs = plan_runs(args.study, configs, root)
    if not args.launch.launcher:  # a cluster's data and devices may not be on this machine
        cells.dry_run_cells({run.cell: configs[run.cell] for run in runs if run.state() == "open"})
    file = root / "study.json"
    earlier_seconds = _earlier_seconds(root)
    goal = next(iter(configs.values())).run.goal
    errors = run_all(args.launch, runs, goal, root, args.study.budget)
    stale = stale_runs(runs, root)
    seconds = earlier_seconds + time.perf_counter() - start
    record = results.collect(args.study, args.name, command, seconds, runs, errors, list(stale))
    atomic_write(file, redact_home(json.dumps(record, indent=1, ensure_ascii=False)) + "\n")
    atomic_write(root / "table.csv", results.to_csv(record))
    table.print_study(record, stale)
    for output in write_report(root):
        CONSOLE.print(f"written: {output}", soft_wrap=True)
    return record


def _earlier_seconds(root: Path) -> float:
    """Seconds that earlier starts of the study took; 0 if there was none. A damaged study.json is made again."""
    from regulo.analysis import study_record

    try:
        return float(study_record.read(root)["seconds"])
    except InputError:
        return 0.0


def write_report(root: Path) -> list[Path]:
    """Write the study's page; returns the files that a reader can open."""
    from regulo.analysis.report import study_page

    return [study_page.write(root), root / "table.csv", root / "study.json"]
