"""The summary of a study in the terminal: about ten lines."""

from collections.abc import Iterator, Mapping
from typing import Any

from regulo.analysis.study_record import Column, Difference
from regulo.analysis.tuning.proof import DEFAULT, NONE
from regulo.analysis.tuning.results import recommended_plan, winners_curse
from regulo.core.errors import one_line
from regulo.core.text import format_duration


def print_summary(record: Mapping[str, Any]) -> None:
    """Print what was found, by what evidence, and what it cost."""
    from regulo.core.console import CONSOLE

    for line in summary_lines(record):
        CONSOLE.print(one_line(line), soft_wrap=True, markup=False)


def summary_lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the summary."""
    trials = record["trials"]
    states = [trial["status"] for trial in trials]
    plans = len({trial["plan"] for trial in trials})
    yield (
        f"{record['name']}: {plans} plans in {len(trials)} runs of {', '.join(map(str, record['rungs']))} epochs "
        f"({states.count('diverged')} diverged, {states.count('failed')} failed)"
    )
    seconds = record["seconds"]
    yield f"work: {format_duration(seconds['search'])} of search, {format_duration(seconds['proof'])} of proof"
    plan = recommended_plan(record)
    if plan is None:
        yield why_no_proof(record)
        return
    yield f"recommended: {plan['label']}: {' + '.join(plan['techniques']) or 'no technique'}"
    if changes := [word for word in plan["overrides"] if "=" in word and not word.startswith("+")]:
        yield f"  with {' '.join(changes)}"
    if record["proof"]["best"] != plan["label"]:
        yield f"  it is the simplest plan that is not clearly worse than the best on validation, {record['proof']['best']}"
    if not plan["to_default"] and plan["label"] != DEFAULT:
        yield "there is no difference to your plan: it has not finished with every fresh seed"
    columns = [Column(**column) for column in record["proof"]["columns"]]
    for column in (c for c in columns if c.key in ("test/acc", "test/loss")):
        yield from _difference_lines(record, plan, column)
    for label, before, after in winners_curse(record)[:1]:
        sign = 1 if record["mode"] == "min" else -1
        yield f"winner's curse: {label} had {record['monitor']} {before:.4f} in the search and {after:.4f} with fresh seeds" + (
            "" if sign * (after - before) > 0 else " (no loss)"
        )


def why_no_proof(record: Mapping[str, Any]) -> str:
    """Why no plan can be recommended, and whether it helps to start the study again."""
    what = "there is no proof: fewer than two plans have finished with every fresh seed"
    return what + ("; the same command goes on" if any(run["status"] == "open" for run in record["runs"]) else "")


def _difference_lines(record: Mapping[str, Any], plan: Mapping[str, Any], column: Column) -> Iterator[str]:
    """The difference of the recommended plan to the default plan; for the default plan itself, what could have been seen."""
    unit = f" {column.difference_unit}" if column.difference_unit else ""
    if found := plan["to_default"].get(column.key):
        difference = Difference.from_record(found)
        words = {"better": "better", "worse": "worse", "differs": "different"}
        verdict = f"{words.get(difference.mark(column), 'not clearly different')} (n = {difference.n} seeds)"
        yield f"{column.label} minus that of the default plan: {difference.format(column)}{unit}, {verdict}"
    elif plan["label"] == DEFAULT:
        others = [p for p in record["proof"]["plans"] if p["label"] not in (DEFAULT, NONE) and column.key in p["to_default"]]
        halves = [d.high - d.mean for p in others if (d := Difference.from_record(p["to_default"][column.key])).high is not None]
        if halves:
            visible = f"{column.factor * max(halves):.{column.digits}f}{unit}"
            yield f"{column.label}: nothing better was found; a difference of {visible} would have been seen"
