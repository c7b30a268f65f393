"""`regulo ablate`: run a study, as far as it has not been run, and tell what helped."""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from regulo.core.errors import InputError, Problem
from regulo.core.files import atomic_write, file_lock
from regulo.core.paths import redact_home

ROOT = Path("runs") / "studies"


def ablate(arguments: Sequence[str]) -> int:
    """Run a study as far as it has not been run, and show its table.

    Returns the exit code: 0 if all runs ended well or wait for a larger budget, 1 if one failed.
    """
    from regulo.analysis.ablation.study import parse_study_args

    wanted = parse_study_args(arguments)

    from regulo.analysis.ablation.cells import check_cells, dry_run_cells

    configs_of = check_cells(wanted.study)
    root = (ROOT / wanted.name).absolute()
    try:
        with file_lock(root / ".lock", wait=False):
            from regulo.analysis import study_record
            from regulo.analysis.ablation import results, table
            from regulo.analysis.ablation.runner import run_all
            from regulo.analysis.ablation.runs import plan_runs, stale_runs
            from regulo.core.console import CONSOLE

            began = time.perf_counter()
            runs = plan_runs(wanted.study, configs_of, root)
            if not wanted.launcher:  # a cluster's data and devices may not be here
                dry_run_cells({run.cell: configs_of[run.cell] for run in runs if run.state() == "open"})
            file = root / "study.json"
            before = float(study_record.read(root)["seconds"]) if file.is_file() else 0.0
            errors = run_all(wanted, runs, next(iter(configs_of.values())).run.goal, root)
            old = stale_runs(runs, root)
            command = shlex.join(["regulo", "ablate", *arguments])
            seconds = before + time.perf_counter() - began
            found = results.collect(wanted.study, wanted.name, command, seconds, runs, errors, list(old))
            atomic_write(file, redact_home(json.dumps(found, indent=1, ensure_ascii=False)) + "\n")
            atomic_write(root / "table.csv", results.tidy(found))
            table.show(found, old)
            for page in pages(root):
                CONSOLE.print(f"written: {page}", soft_wrap=True)
    except BlockingIOError as error:
        raise InputError(Problem("regulo ablate", f"another process is running the study in {root}")) from error
    return 1 if results.unfinished(found, "failed") else 0


def pages(root: Path) -> list[Path]:
    """What can be looked at."""
    from regulo.analysis.report import study_page

    return [study_page.write(root), root / "table.csv", root / "study.json"]
