"""The page of a study: which technique helped, by how much, at what cost."""

import datetime
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from regulo.analysis.report import html, study_content, study_figures, style
from regulo.analysis.report.page import Block, Bullets, Cell, Code, Fact, Figures, Page, Section, Table, Text
from regulo.analysis.report.study_content import Column, Row, Study

DESIGNS = {
    "add_one": "Each technique added to the base, alone",
    "leave_one_out": "Each technique left out of the whole recipe",
    "pairs": "Each technique added to the base, alone and with each other",
    "strengths": "The whole recipe at several strengths",
}
COST = "relative_seconds"
"""the column of what a technique costs"""


def write(study: Path) -> Path:
    """Write `report.html` into a study's folder; returns its path. Raises InputError if it has no study.json."""
    return html.save(build(study), study / "report.html")


def build(folder: Path) -> Page:
    """What there is to say of a study, whether all of its runs are done or not."""
    study = study_content.read(folder)
    told = study.told
    with style.applied():
        sections = [
            Section("What helped", list(_found(study))),
            Section("Effects", list(_effects(study))),
            Section("By strength", list(_strengths(study))),
            Section("Trade-offs", list(_trade_offs(study))),
            Section("All numbers", list(_tables(study))),
            Section("Left out", list(_unfinished(study))),
            Section("How it was measured", list(_method(study))),
        ]
    lead = f"{DESIGNS[told['design']]}."
    if study.base.label != "base":
        lead += f" The base is {study.base.label}."
    facts = [
        Fact("configurations", str(len(study.rows)), "with the base"),
        Fact("runs", str(sum(row.n for row in study.rows)), study_figures.seeds(list(study.rows))),
        *_base_facts(study),
        Fact("time", f"{told['seconds'] / 60:.0f} min", told["date"]),
    ]
    made = f"Made by regulo report on {datetime.date.today()} from {folder.resolve().name}/."
    return Page(told["title"], lead, facts, sections, made)


def _base_facts(study: Study) -> Iterator[Fact]:
    column = study.primary
    mean = study.base.mean(column.key) if column else None
    if column and mean is not None:
        yield Fact(
            f"{column.label} of the base", column.show(mean) + (column.unit if column.unit == "%" else ""), study.base.label
        )


def _found(study: Study) -> Iterator[Block]:
    """The sentence that is quoted."""
    column = study.primary
    if not column:
        yield Text("Nothing could be compared with the base.")
        return
    ordered = sorted(
        (row for row in study.others if column.key in row.difference),
        key=lambda row: row.difference[column.key].mean,
        reverse=column.better == "high",
    )
    groups: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for row in ordered:
        d = row.difference[column.key]
        groups[d.mark(column)].append(f"{row.label} {d.words(column)}")
    verb = {"better": "Clearly better in", "worse": "Clearly worse in", "": "Not clear of zero in"}
    items = [f"{verb[mark]} {column.label}, {column.step}: {'; '.join(some)}." for mark, some in groups.items() if some]
    if items:
        yield Bullets(items)
        n = sorted({row.difference[column.key].n for row in ordered})
        known = any(row.difference[column.key].low is not None for row in ordered)
        brackets = (
            "In brackets: simultaneous 95% intervals over the whole table"
            if known
            else "Without intervals, no difference is clear"
        )
        counted = f"n = {n[0]} seed{'s' * (n[0] > 1)}" if len(n) == 1 else f"n = {n[0]} to {n[-1]} seeds"
        possible = " Not clear is not absent: every effect within its interval remains possible." if known else ""
        yield Text(f"{brackets}. Paired by seed, {counted}.{possible}")
    else:
        yield Text("No configuration has a seed in common with the base yet.")


def _unfinished(study: Study) -> Iterator[Block]:
    if study.failed:
        yield Text("Failed, and left out of every number:")
        yield Bullets([f"{run['folder']}: {run['error'] or 'no reason was told'}" for run in study.failed])
    if study.missing:
        names = ", ".join(run["folder"] for run in study.missing)
        yield Text(f"{len(study.missing)} runs have not been done; the same command goes on: {names}.")
    if study.told["stale"]:
        yield Text("Stale, from an earlier state of the study; kept, and in none of the numbers:")
        yield Bullets(study.told["stale"])


def _effects(study: Study) -> Iterator[Block]:
    wanted = [c for c in study.compared if c.better != "none" and not c.key.startswith("val/")]  # validation chose the epoch
    wanted.sort(key=lambda c: c is not study.primary)
    pictures = [p for c in wanted if (p := study_figures.effects(study, c))]
    every = study.primary and study_figures.dots(study, study.primary)
    if pictures:
        yield Figures([*pictures, *([every] if every else [])])


def _strengths(study: Study) -> Iterator[Block]:
    if study.told["design"] == "strengths":
        pictures = [p for c in study.compared if (p := study_figures.strengths(study, c))]
        if pictures:
            yield Figures(pictures)


def _trade_offs(study: Study) -> Iterator[Block]:
    gap, acc, cost = study.column("gap/acc"), study.column("test/acc"), study.column(COST)
    text = "A smaller gap alone is no gain: what counts is up."
    pictures = [
        gap and acc and study_figures.trade_off(study, "gap-accuracy", "Gap against accuracy", gap, acc, text),
        cost and study.primary and study_figures.benefit(study, cost, study.primary),
        study_figures.corrupted(study),
    ]
    found = [picture for picture in pictures if picture]
    if found:
        yield Figures(found)


def _tables(study: Study) -> Iterator[Block]:
    caption = (
        f"Mean ± standard deviation over seeds; below, the difference to {study.base.label} with its simultaneous 95% interval. "
        "▲ clearly better, ▼ clearly worse, ◆ clearly different."
    )
    rows = [[Cell(row.label, _lost(row)), Cell(str(row.n)), *(_cell(row, c) for c in study.columns)] for row in study.rows]
    yield Table(caption, ["configuration", "n", *(c.title for c in study.columns)], rows)
    columns = [c for c in study.columns if any(c.key in row.difference for row in study.interactions)]
    if columns:
        caption = "Interactions: what two do together beyond the sum of each, AB − A − B + base, with simultaneous 95% intervals."
        both = [[Cell(row.label), *(_interaction(row, c) for c in columns)] for row in study.interactions]
        yield Table(caption, ["pair", *(f"{c.label}, {c.step}" for c in columns)], both)


def _lost(row: Row) -> str:
    failed = sum(run["status"] == "failed" for run in row.runs)
    return f"{failed} failed" if failed else ""


def _cell(row: Row, column: Column) -> Cell:
    some = row.known(column.key)
    if not some:
        return Cell("–")
    spread = f" ± {column.show(statistics.stdev(some))}" if len(some) > 1 else ""
    d = row.difference.get(column.key)
    return Cell(column.show(statistics.fmean(some)) + spread, d.words(column) if d else "", d.mark(column) if d else "")


def _interaction(row: Row, column: Column) -> Cell:
    d = row.difference.get(column.key)
    return Cell("", d.words(column), d.mark(column)) if d else Cell("–")


def _method(study: Study) -> Iterator[Block]:
    told = study.told
    yield Text(told["method"])
    took = f"{told['seconds'] / 60:.1f} minutes, {told['date']}"
    yield Text(f"It ran on {told['hardware']}, in {took}. Again, and on from where it stopped:")
    yield Code(told["command"])
    rows = [[Cell(cell["label"]), Cell(_words(cell))] for cell in told["cells"]]
    caption = "What each configuration is: overrides of the default."
    yield Table(caption, ["configuration", "overrides"], rows, folded=True, words=True)


def _words(cell: Mapping[str, Any]) -> str:
    words: Sequence[str] = cell["overrides"]
    return " ".join(words)
