"""`regulo tune`: search regularization plans, prove the best with fresh seeds, and write the result as an experiment."""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regulo.core.errors import InputError, Problem, RunError
from regulo.core.files import atomic_write, file_lock, report_write_errors
from regulo.core.paths import redact_home
from regulo.core.program import PROGRAM

if TYPE_CHECKING:
    from regulo.analysis.launchers.queue import Queue
    from regulo.analysis.tuning.arguments import TuneArgs
    from regulo.analysis.tuning.budget import Budget, Cost
    from regulo.analysis.tuning.space import PlanSpace
    from regulo.analysis.tuning.study import SearchStudy
    from regulo.config.schema import Config


def tune(arguments: Sequence[str]) -> int:
    """Make the runs that are not finished, and show what was found.

    Returns the exit code: 0 if the proof is complete, else 1. Raises InputError if something is wrong before the first run.
    """
    if arguments[:1] in (["lr"], ["batch"]):
        from regulo.analysis.tuning import run_measures

        measure = run_measures.tune_lr if arguments[0] == "lr" else run_measures.tune_batch
        return measure(arguments[1:])
    try:
        from regulo.analysis.tuning.arguments import parse_tune_args
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise InputError(
            Problem("tune", "needs the package optuna, which is not installed", "pip install 'regulo[tune]'")
        ) from None

    args = parse_tune_args(arguments)

    from regulo.analysis.launchers.queue import Queue
    from regulo.analysis.tuning.search import study_folder
    from regulo.analysis.tuning.settings import check_settings, save_settings
    from regulo.config import compose
    from regulo.core.console import CONSOLE

    config = compose.load_config(args.overrides)
    space = make_space(config, args)
    root = study_folder(args.study_name(config))
    settings, cost = check_settings(config, space, args, root)
    queue = Queue.open(args.launch, root / "logs")
    budget = make_budget(args, space, queue)
    cost = cost or guess_cost(config, args, queue)
    budget.check(cost, settings["study"]["rungs"], args.seeds)
    with report_write_errors(root):
        with output_lock(root):
            save_settings(root, settings, args, cost)
        CONSOLE.print(describe(space, cost, settings["study"]["rungs"], root), soft_wrap=True, markup=False)
        return run_study(args, config, space, budget, cost, queue, root)


def make_space(config: "Config", args: "TuneArgs") -> "PlanSpace":
    """The space of the study. Raises InputError if it is empty, or if something that is named does not suit the run."""
    from regulo.analysis.tuning.space import build_space
    from regulo.analysis.tuning.suitability import suitable_techniques
    from regulo.core import registry

    names = registry.list_plugins("regularizer")
    named = {name.partition(".")[0] for name in args.search or ()}
    candidates = [name for name in names if args.search is None or name in named or name in config.regularizer]
    suitable, refused = suitable_techniques(config, candidates)
    problems = [Problem("tune.search", f"{name}: {refused[name]}", "leave it out") for name in sorted(named & refused.keys())]
    absent = (named & set(names)) - {*config.regularizer, *(args.search or ())}
    problems += [
        Problem(
            "tune.search", f"{name} is not part of the plan, so there is nothing to set", f"search {name}, or +regularizer={name}"
        )
        for name in sorted(absent)
    ]
    if problems:
        raise InputError(*problems)
    reasons = {name: reason for name, reason in refused.items() if name not in config.regularizer}  # the others stay as they are
    space = build_space(config, suitable, reasons, args.search, args.fix)
    conflicts = [
        Problem("tune.search", f"{n}: {space.refused[n]}", "leave one out") for n in sorted(named & space.refused.keys())
    ]
    if conflicts:
        raise InputError(*conflicts)
    unsearched = [name for name in args.search or () if "." in name and name not in space.domains()]
    if unsearched:
        raise InputError(
            *(Problem("tune.search", f"{name} has no range around its value in this run", "leave it out") for name in unsearched)
        )
    if not space.domains():
        raise InputError(Problem("tune.search", "nothing is left to search", "tune.search=[mixup,weight_decay,optim.lr]"))
    return space


def make_budget(args: "TuneArgs", space: "PlanSpace", queue: "Queue") -> "Budget":
    """The limits of the study."""
    from regulo.analysis.tuning.budget import Budget

    return Budget(args.seconds, args.trials, max(1, queue.at_once), args.seeds * (args.plans + 1 + bool(space.base)))


def guess_cost(config: "Config", args: "TuneArgs", queue: "Queue") -> "Cost":
    """What runs take, measured on some steps of the default plan; on a cluster, whose devices are not here, a rough guess."""
    from regulo.analysis.tuning.budget import Cost

    if args.launch.launcher:
        return Cost(10.0, 10.0)
    import torch

    from regulo.analysis.tuning.short_training import measure_cost
    from regulo.training.measure_speed import build_measured

    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, len(queue.slots[0].cores)))
    try:
        return measure_cost(build_measured(config))
    finally:
        torch.set_num_threads(threads)


def describe(space: "PlanSpace", cost: "Cost", rungs: Sequence[int], root: Path) -> str:
    """What will be searched, and about how long it will take."""
    from regulo.core.text import format_count, format_duration

    switches = space.switches()
    whole = format_duration(cost.seconds(rungs[-1]))
    lines = [
        f"tune: {format_count(len(switches), 'technique')} on or off, "
        f"{format_count(len(space.domains()) - len(switches), 'number')}; "
        f"runs of {', '.join(map(str, rungs))} epochs, a whole one takes about {whole}; {root}"
    ]
    if space.refused:
        lines.append(f"left out, with the reasons in report.html: {', '.join(sorted(space.refused))}")
    return "\n".join(lines)


def run_study(
    args: "TuneArgs", config: "Config", space: "PlanSpace", budget: "Budget", cost: "Cost", queue: "Queue", root: Path
) -> int:
    """Search, prove and report. Returns the exit code. Raises RunError if no run has ended well."""
    from regulo.analysis.launchers.runner import run_all
    from regulo.analysis.tuning import proof, results
    from regulo.analysis.tuning.budget import estimate_cost
    from regulo.analysis.tuning.rungs import list_rungs
    from regulo.analysis.tuning.search import Search, best_trials
    from regulo.analysis.tuning.study import SearchStudy
    from regulo.core.console import CONSOLE
    from regulo.core.text import format_count, format_duration

    rungs = list_rungs(config.trainer.max_epochs, args.rungs)
    study = SearchStudy(root, space, rungs, config.run.goal, config.run.seed, space.params_of_base(), args.objectives)
    Search(study, args.overrides, config.run.seed, budget, cost).run(queue)
    if not best_trials(study.trials(), True):
        errors = [trial.error for trial in study.trials() if trial.error]
        raise RunError(f"no run of the search ended well: {errors[-1] if errors else 'none was started'}")
    plans = proof.choose_plans(study, args.plans)
    if len(plans) < 2:
        raise RunError("no plan but yours has ended well, so there is nothing to compare it with")
    runs = proof.plan_proof_runs(plans, args.overrides, config.run.seed, args.seeds, rungs[-1], root)
    left = dataclasses.replace(budget, proof_runs=sum(run.state() != "done" for run in runs))
    duration = format_duration(left.proof_seconds(estimate_cost(study.trials(), cost), rungs[-1]))
    CONSOLE.print(f"proof: {', '.join(p.label for p in plans)}; {format_count(left.proof_runs, 'run')} left, about {duration}")
    with study.ownership():
        order = list(reversed(runs)) if study.other_owners() else runs  # two processes begin at different ends
        errors_by_name = run_all(args.launch, order, config.run.goal, root)
    found = proof.evaluate_proof(plans, runs, config.run.goal)
    command = shlex.join([PROGRAM, "tune", *args.words])
    with output_lock(root):
        record = results.collect(study, command, found, runs, errors_by_name, root.name)
        write_outputs(record, study, args, root)
    return int(found is None or any(run["status"] != "done" for run in record["runs"]))


def output_lock(root: Path) -> AbstractContextManager[None]:
    """Within: no other process of the study writes its files."""
    return file_lock(root / ".outputs.lock")


def write_outputs(record: dict[str, Any], study: "SearchStudy", args: "TuneArgs", root: Path) -> None:
    """Write tune.json, the experiment, the page and a sweep of W&B, and print the summary."""
    from regulo.analysis.report import html
    from regulo.analysis.tuning import experiment, page, sweep, terminal
    from regulo.core.console import CONSOLE

    terminal.print_summary(record)
    files = []
    if record["proof"]:
        file, record["command_to_train"] = experiment.save_experiment(record, args.overrides, root)
        files.append(file)
    atomic_write(root / "tune.json", redact_home(json.dumps(record, indent=1, ensure_ascii=False)) + "\n")
    atomic_write(root / "sweep.yaml", redact_home(sweep.sweep_yaml(study.space, args.overrides, study.goal)))
    for file in [root / "tune.json", html.save(page.build_page(record), root / "report.html"), *files]:
        CONSOLE.print(f"written: {file}", soft_wrap=True)
