"""`regulo crossval`: a run for each fold, the mean of their scores, and the images whose labels may be wrong."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo.core.files import atomic_write
from regulo.core.paths import redact_home
from regulo.core.program import PROGRAM

if TYPE_CHECKING:
    from regulo.analysis.crossval.plans import CrossvalArgs
    from regulo.config.schema import Config

OOF = "oof.csv"
"""the file of the out-of-fold predictions"""
MAX_NAMED = 5
"""images with doubtful labels that the terminal names"""


def crossval(arguments: Sequence[str]) -> int:
    """Make the runs that are not finished, and show their scores.

    Returns the exit code: 0 if all runs are done, else 1. Raises InputError for wrong settings, or if another process is at it.
    """
    from regulo.analysis.crossval.plans import PLAN, load_plans, parse_crossval_args

    args = parse_crossval_args(arguments)
    configs = load_plans(args)

    from regulo.analysis.crossval.results import root_folder, runs_with_status
    from regulo.analysis.launchers.runs import only_one_process

    name = configs[PLAN].run.name
    root = root_folder(name)
    with only_one_process(root, "regulo crossval"):
        record = _run(args, configs, root, shlex.join([PROGRAM, "crossval", *arguments]))
    return int(bool(runs_with_status(record, "failed") or runs_with_status(record, "missing")))


def _run(args: "CrossvalArgs", configs: Mapping[str, "Config"], root: Path, command: str) -> dict[str, Any]:
    """Make the runs that are not finished, write the results, print the table; returns the content of crossval.json."""
    from regulo.analysis.crossval import page, plans, results, table
    from regulo.analysis.crossval.suspects import find_suspects
    from regulo.analysis.launchers.runner import run_all
    from regulo.analysis.report import html
    from regulo.core.console import CONSOLE

    settings = plans.check_settings(configs, root)
    runs = plans.list_runs(args, root)
    with plans.forget_data_if_refused(root):
        plans.prepare_data(configs, args.folds, root)
        if not args.launch.launcher and any(run.state() == "open" for run in runs):  # a cluster's devices may not be here
            plans.dry_run(configs, root)
    atomic_write(root / plans.SETTINGS, json.dumps(settings, indent=1, ensure_ascii=False) + "\n")  # nothing refuses any more
    config = configs[plans.PLAN]
    notes = plans.describe_data_changes(config, root)
    for note in notes:
        CONSOLE.print(note, soft_wrap=True)
    errors = run_all(args.launch, runs, config.run.goal, root)
    record = results.collect(args, root.name, command, runs, errors)
    predictions = results.out_of_fold(runs)
    main = predictions.get(plans.PLAN)
    suspects = find_suspects(main.labels, main.probabilities) if main else []
    record["notes"] = notes
    record["suspects"] = results.describe_suspects(main, suspects) if main else []
    for label, part in predictions.items():
        atomic_write(root / (OOF if label == plans.PLAN else f"{label}-{OOF}"), part.to_csv(for_spreadsheets=True))
    atomic_write(root / "crossval.json", redact_home(json.dumps(record, indent=1, ensure_ascii=False)) + "\n")
    html.save(page.build_page(record, main, config.data), root / "report.html")
    table.print_results(record, MAX_NAMED)
    for file in ("report.html", OOF, "crossval.json"):
        if (root / file).is_file():
            CONSOLE.print(f"written: {root / file}", soft_wrap=True)
    return record
