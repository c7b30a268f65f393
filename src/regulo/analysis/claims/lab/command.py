"""`regulo claims`: run the trials of claims, print the verdicts, write the page. A finished trial is not repeated."""

import functools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from regulo.analysis.claims.base import Claim, ClaimTrial
from regulo.analysis.launchers import local
from regulo.analysis.launchers.runs import only_one_process
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.files import atomic_write
from regulo.core.registry import classes_in, list_modules
from regulo.core.safe_io import read_cache

ROOT = Path("runs") / "claims"


def discover_claims() -> dict[str, Claim]:
    """All claims by name, in the order of their numbers."""
    package = "regulo.analysis.claims"
    claims = [claim() for name in list_modules(package) for claim in classes_in(f"{package}.{name}", Claim)]
    return {claim.name: claim for claim in sorted(claims, key=lambda c: c.number)}


def claims(names: Sequence[str], quick: bool, docs: bool) -> int:
    """Test the named claims, or all. Returns the exit code: 1 if a trial could not be measured.

    The page is written next to the measurements; `docs`: to docs/claims.md, for the repository. Raises InputError for an unknown
    name, or if another process tests claims.
    """
    all_claims = discover_claims()
    for name in names:
        if name not in all_claims:
            raise InputError(Problem("claim", f"there is no claim {name!r}", nearest(name, all_claims)))
    selection = [all_claims[name] for name in names] or list(all_claims.values())

    from regulo.analysis.claims.lab import report, summary
    from regulo.core import console

    root = ROOT / "quick" if quick else ROOT
    with only_one_process(root, "regulo claims"):
        errors = list(run_trials(selection, quick, root))
        complete = {c.name: trials for c in all_claims.values() if (trials := read_all_trials(c, quick, root)) is not None}
        results = {name: all_claims[name].judge(trials) for name, trials in complete.items()}
        for claim in (c for c in selection if c.name in results):
            summary.print_result(f"{claim.number}. {claim.statement}", results[claim.name], quick)
        page, figures = (Path("docs/claims.md"), "figures/claims") if docs else (root / "claims.md", "figures")
        report.write_page(page, figures, all_claims, complete, results, quick)
    console.CONSOLE.print(f"written: {page}", soft_wrap=True)
    for line in errors:
        print(f"regulo: not measured: {line}", file=sys.stderr)
    return 1 if errors else 0


def run_trials(claims: Sequence[Claim], quick: bool, root: Path) -> Iterator[str]:
    """Measure all missing trials of these claims, with a progress bar. Yields a line for each that breaks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    trials = {f"{claim.name}/{trial.name}": (claim, trial) for claim in claims for trial in claim.trials(quick)}
    jobs = {
        name: functools.partial(measure_trial, claim, trial, root.absolute())
        for name, (claim, trial) in trials.items()
        if read_record(claim, trial, root) is None
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(trials), completed=len(trials) - len(jobs))
        for event in local.run_jobs(jobs, local.machine_slots(), root / "logs"):
            if event.seconds is None:
                progress.update(bar, description=f"{trials[event.name][0].number:2d} {event.name}"[:60].ljust(60))
            else:
                progress.advance(bar)
            if event.error:
                yield f"{event.name}: {event.error} ({root / 'logs' / event.name}.txt)"


def cache_key(claim: Claim, trial: ClaimTrial) -> object:
    """What a measurement depends on: the settings of the trial and the constants of the claim's module."""
    module = sys.modules[type(claim).__module__]
    constants = {name: value for name, value in vars(module).items() if name.isupper() and name != "TYPE_CHECKING"}
    return json.loads(json.dumps({"settings": trial.settings, "constants": constants}, default=str))


def measure_trial(claim: Claim, trial: ClaimTrial, root: Path) -> ClaimTrial:
    """The trial with its numbers, from its file, or else measured now."""
    record = read_record(claim, trial, root)
    if record is None:
        file = record_file(claim, trial, root)
        file.parent.mkdir(parents=True, exist_ok=True)
        numbers = claim.measure(trial, root.absolute())
        atomic_write(file, json.dumps({"key": cache_key(claim, trial), "measured": numbers}, indent=1) + "\n")
        record = read_record(claim, trial, root)
    assert record is not None
    return record


def record_file(claim: Claim, trial: ClaimTrial, root: Path) -> Path:
    """The file of a trial's numbers."""
    return root / claim.name / f"{trial.name}.json"


def read_record(claim: Claim, trial: ClaimTrial, root: Path) -> ClaimTrial | None:
    """The trial with its numbers, or None if its file is missing or belongs to other settings."""
    file = record_file(claim, trial, root)
    record = read_cache(file)
    return ClaimTrial(trial.name, trial.settings, record["measured"]) if record.get("key") == cache_key(claim, trial) else None


def read_all_trials(claim: Claim, quick: bool, root: Path) -> list[ClaimTrial] | None:
    """All trials of a claim with their numbers, or None if one is missing."""
    trials = [read_record(claim, trial, root) for trial in claim.trials(quick)]
    return None if None in trials else [t for t in trials if t is not None]
