"""`regulo runs`: the list of all runs in the terminal, or as JSON."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from regulo.core.errors import InputError, Problem, one_line
from regulo.core.text import format_bytes, format_duration
from regulo.tracking.run_filter import filter_runs, list_keys, sort_runs
from regulo.tracking.run_removal import pin_runs, remove_runs
from regulo.tracking.run_summary import RunSummary, summarize_runs

ACTIONS = ("rm", "pin", "unpin")
MAX_ROWS = 25
"""rows of the table without --all"""
MAX_REASONS = 5
"""runs below the table of which it says why they ended"""


def runs(words: Sequence[str], as_json: bool, sort: str | None, show_all: bool, yes: bool) -> int:
    """List the runs that match all filters, or remove or pin runs. Returns the exit code. Raises InputError.

    words: filters, or one of `ACTIONS` and runs. sort: a key, or -key. show_all: also runs of studies and claims, and all rows.
    """
    if words and words[0] in ACTIONS:
        return _change_runs(words[0], words[1:], as_json or sort is not None or show_all, yes)
    if yes:
        raise InputError(Problem("--yes", "answers the question of `regulo runs rm`, and nothing is asked here"))
    summaries = summarize_runs()
    matches = selection = filter_runs(summaries, words)
    if not show_all and not any(word.startswith("study") for word in words):
        selection = [run for run in selection if not run.study]
    if sort is not None:
        selection = sort_runs(selection, sort, list_keys(summaries))
    if as_json:
        print(json.dumps([describe_run(run) for run in selection], indent=1))
    else:
        print_table(selection if show_all else selection[:MAX_ROWS], len(matches))
    return 0


def _change_runs(action: str, names: Sequence[str], has_list_options: bool, yes: bool) -> int:
    if not names:
        raise InputError(Problem(f"regulo runs {action}", "needs a run", f"regulo runs {action} RUN …"))
    if has_list_options or (yes and action != "rm"):
        raise InputError(Problem(f"regulo runs {action}", "takes runs, and no option of the list"))
    return remove_runs(names, yes) if action == "rm" else pin_runs(names, pinned=action == "pin")


def describe_run(run: RunSummary) -> dict[str, Any]:
    """A run as plain data for JSON: numbers that are not finite are None."""
    scores = {key: value if math.isfinite(value) else None for key, value in run.scores.items()}
    more = {"name": run.name, "path": str(run.path), "resume_command": run.resume_command, "scores": scores}
    return dataclasses.asdict(run) | more


# ---- the table


@dataclasses.dataclass(frozen=True)
class RunColumn:
    """A column of the table."""

    title: str
    cell: Callable[[RunSummary], str]
    importance: int
    """in a narrow terminal, the columns with the lowest numbers are left out"""
    justify: Literal["left", "right"] = "right"


def _score(key: str, text: str) -> Callable[[RunSummary], str]:
    return lambda run: text.format(run.scores[key]) if key in run.scores else ""


def _describe_plan(run: RunSummary) -> str:
    return run.plan + (f", strength {run.strength:g}" if run.strength != 1 else "")


def _describe_time(run: RunSummary) -> str:
    left = f", {format_duration(run.seconds_left)} left" if run.seconds_left is not None else ""
    return ("" if run.seconds is None else format_duration(run.seconds)) + left


def _describe_epochs(run: RunSummary) -> str:
    return "" if run.epochs is None else f"{run.epochs:.0f} of {run.max_epochs}"


COLUMNS = (
    RunColumn("state", lambda run: run.state + (", pinned" if run.pinned else ""), 8, "left"),
    RunColumn("plan", _describe_plan, 5, "left"),
    RunColumn("test acc", _score("test/acc", "{:.2%}"), 7),
    RunColumn("NLL", _score("test/loss", "{:.3f}"), 6),
    RunColumn("gap", _score("gap/acc", "{:+.2%}"), 4),
    RunColumn("epochs", _describe_epochs, 1),
    RunColumn("time", _describe_time, 3),
    RunColumn("size", lambda run: format_bytes(run.size), 2),
    RunColumn("run", lambda run: run.path.relative_to("runs").as_posix(), 9, "left"),
)
MIN_PLAN_WIDTH = 12
GAP, EDGES = 3, 2
"""letters between two columns, and at both ends of a row"""


def print_table(rows: Sequence[RunSummary], matches: int) -> None:
    """The rows as a table, then why runs ended that are not done. `matches`: how many runs match the filters."""
    from rich.table import Column, Table
    from rich.text import Text

    from regulo.core.console import CONSOLE, STYLE

    if not rows:
        print("no run is listed" + (f"; --all lists {matches:,} of studies and claims" if matches else ""))
        return
    cells = {column.title: [column.title, *(one_line(column.cell(run)) for run in rows)] for column in COLUMNS}
    columns, plan_width = _fit_columns({title: max(map(len, texts)) for title, texts in cells.items()}, CONSOLE.width)
    cells["plan"] = [text if len(text) <= plan_width else f"{text[: plan_width - 1]}…" for text in cells["plan"]]
    table = Table(*(Column(column.title, no_wrap=True, justify=column.justify) for column in columns), **STYLE)
    for i, run in enumerate(rows, 1):
        color = {"done": "green", "running": "cyan", "interrupted": "yellow"}.get(run.state, "red")
        state, *others = (cells[column.title][i] for column in columns)
        table.add_row(Text(state, style=color), *others)
    CONSOLE.print(table)
    for run in [run for run in rows if run.reason][:MAX_REASONS]:
        resume = f"; go on with: {run.resume_command}" if run.resume_command else ""
        CONSOLE.print(one_line(f"{run.name}: {run.reason}{resume}"), soft_wrap=True)
    if len(rows) < matches:
        CONSOLE.print(f"{len(rows):,} of {matches:,} runs; --all lists all, also those of studies and claims")


def _fit_columns(widths: Mapping[str, int], width: int) -> tuple[list[RunColumn], int]:
    """The columns for which a terminal of this width has room, and the width of the plan, which takes what is left."""
    columns = list(COLUMNS)
    while len(columns) > 2:
        others = sum(widths[column.title] + GAP for column in columns if column.title != "plan")
        if others + MIN_PLAN_WIDTH + EDGES <= width:
            break
        columns.remove(min(columns, key=lambda column: column.importance))
    return columns, max(MIN_PLAN_WIDTH, width - others - EDGES)
