"""`regulo claims`: try the claims, tell the verdicts, write them down. A finished trial is not repeated."""

import contextlib
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from regulo.analysis.claims.base import Claim, ClaimTrial
from regulo.analysis.launchers import local
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.files import atomic_write, file_lock
from regulo.core.registry import classes_in, list_modules

ROOT = Path("runs") / "claims"


def discover_claims() -> dict[str, Claim]:
    """All claims by name, in the order of their numbers."""
    package = "regulo.analysis.claims"
    found = [claim() for name in list_modules(package) for claim in classes_in(f"{package}.{name}", Claim)]
    return {claim.name: claim for claim in sorted(found, key=lambda c: c.number)}


def claims(names: Sequence[str], quick: bool, docs: bool) -> int:
    """Try the named claims, or all. Returns the exit code.

    The page is written beside the measurements; `docs` writes it to docs/claims.md, for the repository.
    """
    known = discover_claims()
    for name in names:
        if name not in known:
            raise InputError(Problem("claim", f"there is no claim {name!r}", nearest(name, known)))
    chosen = [known[name] for name in names] or list(known.values())

    from regulo.analysis.claims.lab import report, summary
    from regulo.core import console

    root = ROOT / "quick" if quick else ROOT
    with lock_folder(root):
        broken = list(run_trials(chosen, quick, root))
        complete = {c.name: trials for c in known.values() if (trials := read_all_trials(c, quick, root)) is not None}
        findings = {name: known[name].judge(trials) for name, trials in complete.items()}
        for claim in (c for c in chosen if c.name in findings):
            summary.print_result(f"{claim.number}. {claim.statement}", findings[claim.name], quick)
        page, figures = (Path("docs/claims.md"), "figures/claims") if docs else (root / "claims.md", "figures")
        report.write_page(page, figures, known, complete, findings, quick)
    console.CONSOLE.print(f"written: {page}", soft_wrap=True)
    for line in broken:
        print(f"regulo: not measured: {line}", file=sys.stderr)
    return 1 if broken else 0


def run_trials(chosen: Sequence[Claim], quick: bool, root: Path) -> Iterator[str]:
    """Measure all trials of these claims behind a progress bar; yields a line for each that broke, and goes on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    planned = {f"{claim.name}/{trial.name}": (claim, trial) for claim in chosen for trial in claim.trials(quick)}
    wanted = {
        name: functools.partial(measure_trial, claim, trial, root.absolute())
        for name, (claim, trial) in planned.items()
        if read_record(claim, trial, root) is None
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(planned), completed=len(planned) - len(wanted))
        for event in local.run_jobs(wanted, local.machine_slots(), root / "logs"):
            if event.seconds is None:
                progress.update(bar, description=f"{planned[event.name][0].number:2d} {event.name}"[:60].ljust(60))
            else:
                progress.advance(bar)
            if event.error:
                yield f"{event.name}: {event.error} ({root / 'logs' / event.name}.txt)"


@contextlib.contextmanager
def lock_folder(root: Path) -> Iterator[None]:
    """Within: no other process tries claims in this folder."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(root / ".lock", wait=False))
        except BlockingIOError as error:
            raise InputError(Problem("regulo claims", f"another process is trying claims in {root}")) from error
        yield


def cache_key(claim: Claim, trial: ClaimTrial) -> object:
    """What a measurement depends on: the trial's settings and the constants of the claim's module."""
    module = sys.modules[type(claim).__module__]
    constants = {name: value for name, value in vars(module).items() if name.isupper() and name != "TYPE_CHECKING"}
    return json.loads(json.dumps({"settings": trial.settings, "constants": constants}, default=str))


def measure_trial(claim: Claim, trial: ClaimTrial, root: Path) -> ClaimTrial:
    """The trial with its numbers: those on disk if they are of this trial, else measured now."""
    known = read_record(claim, trial, root)
    if known is None:
        file = record_file(claim, trial, root)
        file.parent.mkdir(parents=True, exist_ok=True)
        numbers = claim.measure(trial, root.absolute())
        atomic_write(file, json.dumps({"key": cache_key(claim, trial), "measured": numbers}, indent=1) + "\n")
        known = read_record(claim, trial, root)
    assert known is not None
    return known


def record_file(claim: Claim, trial: ClaimTrial, root: Path) -> Path:
    """Where a trial's numbers are kept."""
    return root / claim.name / f"{trial.name}.json"


def read_record(claim: Claim, trial: ClaimTrial, root: Path) -> ClaimTrial | None:
    """The trial with its numbers, if they are on disk."""
    file = record_file(claim, trial, root)
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return ClaimTrial(trial.name, trial.settings, kept["measured"]) if kept.get("key") == cache_key(claim, trial) else None


def read_all_trials(claim: Claim, quick: bool, root: Path) -> list[ClaimTrial] | None:
    """All trials of a claim, if all have been measured."""
    trials = [read_record(claim, trial, root) for trial in claim.trials(quick)]
    return None if None in trials else [t for t in trials if t is not None]
