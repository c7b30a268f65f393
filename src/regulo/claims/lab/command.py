"""`regulo claims`: try the claims, tell the verdicts, write them down. A finished trial is not repeated."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Sequence
from pathlib import Path

from regulo.claims.base import Claim, Trial
from regulo.errors import Problem, Refused, nearest
from regulo.runs import write

ROOT = Path("runs") / "claims"


def discover() -> dict[str, Claim]:
    """All claims by name, in the order of their numbers."""
    package = importlib.import_module("regulo.claims")
    found = []
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg and module.name != "base":
            content = vars(importlib.import_module(f"regulo.claims.{module.name}")).values()
            found += [c() for c in content if inspect.isclass(c) and issubclass(c, Claim) and not inspect.isabstract(c)]
    return {claim.name: claim for claim in sorted(found, key=lambda c: c.number)}


def claims(arguments: Sequence[str]) -> int:
    """`regulo claims [name …] [--quick]`: the named claims, or all. Returns the exit code."""
    known = discover()
    quick = "--quick" in arguments
    names = [a for a in arguments if a != "--quick"]
    for name in names:
        if name not in known:
            raise Refused(Problem("claim", f"there is no claim {name!r}", nearest(name, known)))
    chosen = [known[name] for name in names] or list(known.values())

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from regulo import tables
    from regulo.claims.lab import report

    root = ROOT / "quick" if quick else ROOT
    planned = [(claim, trial) for claim in chosen for trial in claim.trials(quick)]
    measured: dict[str, list[Trial]] = {claim.name: [] for claim in chosen}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=tables.CONSOLE) as progress:
        bar = progress.add_task("", total=len(planned))
        for claim, trial in planned:
            progress.update(bar, description=f"{claim.number:2d} {claim.name}: {trial.name}"[:60].ljust(60))
            measured[claim.name].append(done(claim, trial, root))
            progress.advance(bar)
    findings = {claim.name: claim.judge(measured[claim.name]) for claim in chosen}
    for claim in chosen:
        tables.finding(f"{claim.number}. {claim.statement}", findings[claim.name])
    page = report.write_page(root, known, measured, findings)
    tables.CONSOLE.print(f"written: {page}", soft_wrap=True)
    return 0


def done(claim: Claim, trial: Trial, root: Path) -> Trial:
    """The trial with its numbers: those on disk if its settings are the same, else measured now."""
    file = root / claim.name / f"{trial.name}.json"
    if file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["settings"] == json.loads(json.dumps(trial.settings)):
            return Trial(trial.name, trial.settings, kept["measured"])
    file.parent.mkdir(parents=True, exist_ok=True)
    numbers = claim.measure(trial, root.absolute())
    write(file, json.dumps({"settings": trial.settings, "measured": numbers}, indent=1) + "\n")
    return Trial(trial.name, trial.settings, json.loads(json.dumps(numbers)))
