"""The page of a study: the recommended plan, the evidence for it, and how the search went."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regulo.analysis.report import study_figures, style
from regulo.analysis.report.page import Block, Bullets, Code, Fact, Figures, Page, Section, Table, TableCell, Text
from regulo.analysis.report.study_content import ResultRow, StudyResults
from regulo.analysis.study_record import Column, Difference
from regulo.analysis.tuning import figures
from regulo.analysis.tuning.proof import COST, DEFAULT
from regulo.analysis.tuning.results import recommended_plan, winners_curse
from regulo.analysis.tuning.terminal import summary_lines, why_no_proof
from regulo.core.text import format_duration


def build_page(record: Mapping[str, Any]) -> Page:
    """The page of a tune.json, also of one without a proof."""
    proof = read_proof(record)
    with style.figure_style():
        sections = [
            Section("The recommended plan", list(_recommendation(record))),
            Section("The proof", list(_proof(record, proof))),
            Section("Cost against benefit", list(_cost(proof))),
            Section("What the search saw", list(_search(record))),
            Section("What was left out", list(_refused(record))),
            Section("How the budget was spent", list(_budget(record))),
            Section("How it was measured", list(_method(record))),
        ]
    lead = "Regularization plans that were searched on this data and model, and the best of them trained again with fresh seeds."
    return Page(record["name"], lead, list(_facts(record)), sections, f"Made by regulo tune on {record['date']}.")


def read_proof(record: Mapping[str, Any]) -> StudyResults | None:
    """The proof in the form in which figures of studies take it; None if there is none."""
    proof = record["proof"]
    if not proof:
        return None
    columns = [Column(**column) for column in proof["columns"]]
    rows = [
        ResultRow(
            plan["label"],
            1.0,
            plan["values"],
            {key: Difference.from_record(found) for key, found in plan["to_default"].items()},
            [run for run in record["runs"] if run["label"] == plan["label"]],
        )
        for plan in proof["plans"]
    ]
    return StudyResults(Path(), {"base": DEFAULT}, columns, rows, [])


def _facts(record: Mapping[str, Any]) -> Iterator[Fact]:
    plan = recommended_plan(record)
    if plan:
        yield Fact("recommended", plan["label"], " + ".join(plan["techniques"]) or "no technique")
        for column in (Column(**c) for c in record["proof"]["columns"]):
            values = [v for v in plan["values"][column.key] if v is not None]
            if column.key == "test/acc" and values:
                unit = column.unit if column.unit == "%" else ""
                yield Fact(column.label, column.format_value(statistics.fmean(values)) + unit, f"mean of n = {len(values)} seeds")
                if found := plan["to_default"].get(column.key):
                    difference = Difference.from_record(found)
                    yield Fact(
                        "to the default plan",
                        column.format_change(difference.mean),
                        f"{column.difference_unit}, {_range(difference, column)}",
                    )
    yield Fact("plans tried", str(len({trial["plan"] for trial in record["trials"]})), f"in {len(record['trials'])} runs")


def _range(difference: Any, column: Column) -> str:
    if difference.low is None:
        return "no interval"
    return f"{column.format_change(difference.low)} to {column.format_change(difference.high)}"


def _recommendation(record: Mapping[str, Any]) -> Iterator[Block]:
    yield Bullets(list(summary_lines(record)))
    plan = recommended_plan(record)
    if plan:
        yield Text("To train with it:")
        yield Code(record["command_to_train"])
        rows = [[TableCell(word.partition("=")[0]), TableCell(word.partition("=")[2])] for word in plan["overrides"]]
        if rows:
            yield Table("What it changes in the default plan: overrides.", ("override", "value"), rows, words=True)


def _proof(record: Mapping[str, Any], proof: StudyResults | None) -> Iterator[Block]:
    if proof is None:
        yield Text(why_no_proof(record))
        return
    outcomes = [c for c in proof.compared_columns if c.key.startswith("test/")]
    pictures = [p for c in outcomes if (p := study_figures.effects(proof, c))]
    runs = study_figures.dots(proof, outcomes[0]) if outcomes else None
    yield Figures([*pictures, *([runs] if runs else [])])
    caption = (
        "Mean ± standard deviation over fresh seeds; below, the difference to the default plan with its simultaneous 95% "
        "interval. ▲ significantly better, ▼ significantly worse, ◆ significantly different."
    )
    plans = {plan["label"]: plan for plan in record["proof"]["plans"]}
    header = ["plan", "n", *(column.title for column in proof.columns)]
    yield Table(caption, header, [_row(row, proof.columns, plans[row.label]) for row in proof.rows])
    curse = winners_curse(record)
    if curse:
        yield Text(
            "The winner's curse: the best of many runs was lucky, too. What the best plans had in the search, where the luckiest "
            "run was taken, and what they have with fresh seeds:"
        )
        rows = [
            [TableCell(label), TableCell(f"{a:.4f}"), TableCell(f"{b:.4f}"), TableCell(f"{b - a:+.4f}")] for label, a, b in curse
        ]
        yield Table(f"{record['monitor']}", ("plan", "in the search", "fresh seeds", "change"), rows)


def _row(row: ResultRow, columns: Sequence[Column], plan: Mapping[str, Any]) -> list[TableCell]:
    cells = [TableCell(row.label, " + ".join(plan["techniques"]) or "no technique"), TableCell(str(row.n))]
    for column in columns:
        values = row.available(column.key)
        text = column.format_value(statistics.fmean(values)) if values else "–"
        if len(values) > 1:
            text += f" ± {column.format_value(statistics.stdev(values))}"
        difference = row.difference.get(column.key)
        cells.append(TableCell(text, difference.format(column), difference.mark(column)) if difference else TableCell(text))
    return cells


def _cost(proof: StudyResults | None) -> Iterator[Block]:
    if proof is None:
        return
    cost, accuracy = proof.column(COST), proof.column("test/acc")
    picture = cost and accuracy and study_figures.benefit(proof, cost, accuracy)
    if picture:
        yield Figures([picture])


def _search(record: Mapping[str, Any]) -> Iterator[Block]:
    pictures = [
        figures.search_history(record),
        figures.trade_off(record),
        figures.importance(record),
        *figures.strength_curves(record),
    ]
    shown = [picture for picture in pictures if picture]
    if shown:
        yield Figures(shown)
    rows = [[TableCell(name), TableCell(values)] for name, values in record["searched"].items()]
    yield Table("What was searched.", ("name", "values"), rows, folded=True, words=True)
    if record["fixed"]:
        yield Text(f"In every plan, as they are: {', '.join(record['fixed'])}.")


def _refused(record: Mapping[str, Any]) -> Iterator[Block]:
    if record["refused"]:
        yield Text("These techniques were not tried:")
        yield Bullets([f"{name}: {reason}" for name, reason in sorted(record["refused"].items())])
    bad = [t for t in record["trials"] if t["status"] in ("failed", "diverged")]
    bad_runs = [run for run in record["runs"] if run["status"] != "done"]
    if bad or bad_runs:
        yield Text(
            "These runs did not end well. A loss that was not finite counts as the worst result; other failures say nothing:"
        )
        lines = [f"{t['folder']}: {t['status']}: {t['error']}" for t in bad]
        yield Bullets([*lines, *(f"{run['folder']}: {run['error'] or run['status']}" for run in bad_runs)])


def _budget(record: Mapping[str, Any]) -> Iterator[Block]:
    rows = []
    for epochs in record["rungs"]:
        own = [t for t in record["trials"] if t["epochs"] == epochs]
        ended = [sum(t["status"] == state for t in own) for state in ("done", "diverged", "failed")]
        seconds = sum(t["seconds"] for t in own)
        rows.append(
            [
                TableCell(f"search, {epochs} epochs"),
                *(TableCell(str(n)) for n in (len(own), *ended)),
                TableCell(format_duration(seconds)),
            ]
        )
    runs = record["runs"]
    counts = [len(runs), sum(r["status"] == "done" for r in runs), 0, sum(r["status"] == "failed" for r in runs)]
    rows.append(
        [TableCell("proof"), *(TableCell(str(n)) for n in counts), TableCell(format_duration(record["seconds"]["proof"]))]
    )
    yield Table("Runs and their time, one after the other.", ("", "runs", "done", "diverged", "failed", "time"), rows)


def _method(record: Mapping[str, Any]) -> Iterator[Block]:
    yield Text(record["method"])
    yield Text(f"It ran on {record['hardware']}, {record['date']}. To repeat it, or to continue where it stopped:")
    yield Code(record["command"])
    sign = 1 if record["mode"] == "min" else -1
    trials = sorted(record["trials"], key=lambda t: (-t["epochs"], t["value"] is None, sign * (t["value"] or 0)))
    rows = [
        [
            TableCell(str(t["plan"])),
            TableCell(str(t["epochs"])),
            TableCell("–" if t["value"] is None else f"{t['value']:.4f}"),
            TableCell(t["status"]),
            TableCell(" ".join(t["overrides"])),
        ]
        for t in trials
    ]
    header = ("plan", "epochs", record["monitor"], "status", "overrides of the default plan")
    yield Table("All runs of the search, the best first.", header, rows, folded=True, words=True)
