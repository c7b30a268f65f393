"""The page of a study: which technique helped, by how much, at what cost."""

import datetime
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from regulo.analysis.report import html, study_content, study_figures, style
from regulo.analysis.report.page import Block, Bullets, Code, Fact, Figures, Page, Section, Table, TableCell, Text
from regulo.analysis.report.study_content import ResultRow, StudyResults
from regulo.analysis.study_record import Column

DESIGNS = {
    "add_one": "Each technique added to the base, alone",
    "leave_one_out": "Each technique left out of the whole recipe",
    "pairs": "Each technique added to the base, alone and with each other",
    "strengths": "The whole recipe at several strengths",
}
COST = "relative_seconds"
"""the column with the cost of a technique"""


def write(study: Path) -> Path:
    """Write `report.html` into a study's folder; returns its path. Raises InputError if the folder has no valid study.json."""
    return html.save(build(study), study / "report.html")


def build(folder: Path) -> Page:
    """The page of a study, also if not all of its runs are done. Raises InputError if the folder has no valid study.json."""
    study = study_content.read(folder)
    record = study.record
    with style.figure_style():
        sections = [
            Section("What helped", list(_summary(study))),
            Section("Effects", list(_effects(study))),
            Section("By strength", list(_strengths(study))),
            Section("Trade-offs", list(_trade_offs(study))),
            Section("All numbers", list(_tables(study))),
            Section("Left out", list(_unfinished_runs(study))),
            Section("How it was measured", list(_method(study))),
        ]
    lead = f"{DESIGNS[record['design']]}."
    if study.base.label != "base":
        lead += f" The base is {study.base.label}."
    colophon = f"Made by regulo report on {datetime.date.today()} from {folder.resolve().name}/."
    return Page(record["title"], lead, list(_facts(study)), sections, colophon)


def _facts(study: StudyResults) -> Iterator[Fact]:
    yield Fact("configurations", str(len(study.rows)), "with the base")
    yield Fact("runs", str(sum(row.n for row in study.rows)), study_figures.seed_count(study.rows))
    column = study.primary
    mean = study.base.mean(column.key) if column else None
    if column and mean is not None:
        unit = column.unit if column.unit == "%" else ""
        yield Fact(f"{column.label} of the base", column.format_value(mean) + unit, study.base.label)
    yield Fact("time", f"{study.record['seconds'] / 60:.0f} min", study.record["date"])


def _summary(study: StudyResults) -> Iterator[Block]:
    """The main result in sentences: what was significantly better and worse in the primary column, and what was neither."""
    column = study.primary
    if not column:
        yield Text("Nothing could be compared with the base.")
        return
    differences = [(row.label, row.difference[column.key]) for row in study.others if column.key in row.difference]
    if not differences:
        yield Text("No configuration has a seed in common with the base yet.")
        return
    differences.sort(key=lambda item: item[1].mean, reverse=column.better == "high")
    labels_by_mark: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for label, difference in differences:
        labels_by_mark[difference.mark(column)].append(f"{label} {difference.format(column)}")
    verdicts = {"better": "Significantly better in", "worse": "Significantly worse in", "": "No significant difference in"}
    yield Bullets(
        [
            f"{verdicts[mark]} {column.label}, {column.difference_unit}: {'; '.join(labels)}."
            for mark, labels in labels_by_mark.items()
            if labels
        ]
    )
    counts = sorted({difference.n for _, difference in differences})
    n = f"n = {counts[0]} seed{'s' * (counts[0] > 1)}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]} seeds"
    if any(difference.low is not None for _, difference in differences):
        yield Text(
            f"In brackets: simultaneous 95% intervals over the whole table. Paired by seed, {n}. "
            "Not significant does not mean no effect: every effect within the interval remains possible."
        )
    else:
        yield Text(f"Without intervals, no difference is significant. Paired by seed, {n}.")


def _unfinished_runs(study: StudyResults) -> Iterator[Block]:
    failed_runs, missing_runs = study.runs("failed"), study.runs("missing")
    if failed_runs:
        yield Text("Failed, and left out of every number:")
        yield Bullets([f"{run['folder']}: {run['error'] or 'no reason was reported'}" for run in failed_runs])
    if missing_runs:
        names = ", ".join(run["folder"] for run in missing_runs)
        yield Text(f"{len(missing_runs)} runs have not been done; run the same command to continue: {names}.")
    if study.record["stale"]:
        yield Text("Stale, from an earlier state of the study; kept, and in none of the numbers:")
        yield Bullets(study.record["stale"])


def _effects(study: StudyResults) -> Iterator[Block]:
    # validation numbers are left out: validation chose the epoch
    columns = [c for c in study.compared_columns if c.better != "none" and not c.key.startswith("val/")]
    columns.sort(key=lambda c: c is not study.primary)  # the primary column first
    pictures = [p for c in columns if (p := study_figures.effects(study, c))]
    if pictures:
        runs = study_figures.dots(study, study.primary) if study.primary else None
        yield Figures([*pictures, *([runs] if runs else [])])


def _strengths(study: StudyResults) -> Iterator[Block]:
    if study.record["design"] == "strengths":
        pictures = [p for c in study.compared_columns if (p := study_figures.strengths(study, c))]
        if pictures:
            yield Figures(pictures)


def _trade_offs(study: StudyResults) -> Iterator[Block]:
    gap, accuracy, cost = study.column("gap/acc"), study.column("test/acc"), study.column(COST)
    text = "A smaller gap alone is no gain: higher accuracy is what counts."
    candidates = [
        gap and accuracy and study_figures.trade_off(study, "gap-accuracy", "Gap against accuracy", gap, accuracy, text),
        cost and study.primary and study_figures.benefit(study, cost, study.primary),
        study_figures.corruptions(study),
    ]
    pictures = [picture for picture in candidates if picture]
    if pictures:
        yield Figures(pictures)


def _tables(study: StudyResults) -> Iterator[Block]:
    caption = (
        f"Mean ± standard deviation over seeds; below, the difference to {study.base.label} with its simultaneous 95% interval. "
        "▲ significantly better, ▼ significantly worse, ◆ significantly different."
    )
    header = ["configuration", "n", *(c.title for c in study.columns)]
    yield Table(caption, header, [_table_row(row, study.columns) for row in study.rows])
    columns = [c for c in study.columns if any(c.key in row.difference for row in study.interactions)]
    if columns:
        caption = "Interactions: what two do together beyond the sum of each, AB − A − B + base, with simultaneous 95% intervals."
        header = ["pair", *(f"{c.label}, {c.difference_unit}" for c in columns)]
        rows = [[TableCell(row.label), *(_interaction_cell(row, c) for c in columns)] for row in study.interactions]
        yield Table(caption, header, rows)


def _table_row(row: ResultRow, columns: Sequence[Column]) -> list[TableCell]:
    failed = sum(run["status"] == "failed" for run in row.runs)
    name = TableCell(row.label, f"{failed} failed" if failed else "")
    return [name, TableCell(str(row.n)), *(_value_cell(row, column) for column in columns)]


def _value_cell(row: ResultRow, column: Column) -> TableCell:
    """Mean and spread, with the difference to the base as the note."""
    values = row.available(column.key)
    if not values:
        return TableCell("–")
    text = column.format_value(statistics.fmean(values))
    if len(values) > 1:
        text += f" ± {column.format_value(statistics.stdev(values))}"
    difference = row.difference.get(column.key)
    if difference is None:
        return TableCell(text)
    return TableCell(text, difference.format(column), difference.mark(column))


def _interaction_cell(row: ResultRow, column: Column) -> TableCell:
    difference = row.difference.get(column.key)
    return TableCell("", difference.format(column), difference.mark(column)) if difference else TableCell("–")


def _method(study: StudyResults) -> Iterator[Block]:
    record = study.record
    yield Text(record["method"])
    minutes = f"{record['seconds'] / 60:.1f} minutes"
    yield Text(f"It ran on {record['hardware']}, in {minutes}, {record['date']}. To repeat it, or to continue where it stopped:")
    yield Code(record["command"])
    rows = [[TableCell(cell["label"]), TableCell(" ".join(cell["overrides"]))] for cell in record["cells"]]
    caption = "What each configuration is: overrides of the default."
    yield Table(caption, ["configuration", "overrides"], rows, folded=True, words=True)
