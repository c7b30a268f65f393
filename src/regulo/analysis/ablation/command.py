"""`regulo ablate`: run a study, as far as it has not been run, and tell what helped."""

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from regulo.core.errors import Problem, Refused
from regulo.core.files import locked, write
from regulo.core.paths import without_home

ROOT = Path("runs") / "studies"


def ablate(arguments: Sequence[str]) -> int:
    """Run a study as far as it has not been run, and show its table.

    Returns the exit code: 0 if all runs ended well or wait for a larger budget, 1 if one failed.
    """
    from regulo.analysis.ablation.study import order

    wanted = order(arguments)

    from regulo.analysis.ablation.cells import checked, tried

    configs_of = checked(wanted.study)
    root = (ROOT / wanted.name).absolute()
    try:
        with locked(root / ".lock", wait=False):
            from regulo.analysis import study_record
            from regulo.analysis.ablation import results, table
            from regulo.analysis.ablation.runner import run_all
            from regulo.analysis.ablation.runs import planned, stale
            from regulo.core.console import CONSOLE

            began = time.perf_counter()
            runs = planned(wanted.study, configs_of, root)
            if not wanted.launcher:  # a cluster's data and devices may not be here
                tried({run.cell: configs_of[run.cell] for run in runs if run.state() == "open"})
            file = root / "study.json"
            before = float(study_record.read(root)["seconds"]) if file.is_file() else 0.0
            errors = run_all(wanted, runs, next(iter(configs_of.values())).run.goal, root)
            old = stale(runs, root)
            command = shlex.join(["regulo", "ablate", *arguments])
            seconds = before + time.perf_counter() - began
            found = results.collect(wanted.study, wanted.name, command, seconds, runs, errors, list(old))
            write(file, without_home(json.dumps(found, indent=1, ensure_ascii=False)) + "\n")
            write(root / "table.csv", results.tidy(found))
            table.show(found, old)
            for page in pages(root):
                CONSOLE.print(f"written: {page}", soft_wrap=True)
    except BlockingIOError as error:
        raise Refused(Problem("regulo ablate", f"another process is running the study in {root}")) from error
    return 1 if results.unfinished(found, "failed") else 0


def pages(root: Path) -> list[Path]:
    """What can be looked at."""
    from regulo.analysis.report import study_page

    return [study_page.write(root), root / "table.csv", root / "study.json"]
