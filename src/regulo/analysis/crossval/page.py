"""The page of a cross-validation: scores, confusion, and the images whose labels may be wrong."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from regulo.analysis.crossval.plans import PLAN
from regulo.analysis.crossval.predictions import Predictions
from regulo.analysis.report import run_figures, style
from regulo.analysis.report.page import Block, Bullets, Code, Fact, Figures, Gallery, Page, Photo, Section, Table, TableCell, Text
from regulo.analysis.report.thumbnails import join_thumbnails, make_thumbnail
from regulo.analysis.study_record import Column, Difference
from regulo.core.metrics.base import EvalOutput
from regulo.data.base import DatasetConfig
from regulo.data.components.file_dataset import FileDatasetConfig
from regulo.data.components.folds import pool_images

MAX_SHOWN, MAX_LISTED = 40, 1000
"""images with doubtful labels that are shown, and that are listed"""


def build_page(record: Mapping[str, Any], predictions: Predictions | None, data: DatasetConfig) -> Page:
    """The page of a crossval.json. predictions: those of the plan, out of fold; None: no run is done."""
    columns = [Column(**column) for column in record["columns"]]
    with style.figure_style():
        sections = [
            Section("Scores", list(_scores(record, columns))),
            Section("Plan minus the plan against it", list(_comparison(record, columns))),
            Section("Confusion", list(_confusion(predictions))),
            Section("Labels that may be wrong", list(_suspects(record, predictions, data))),
            Section("Left out", list(_unfinished_runs(record))),
            Section("How it was measured", list(_method(record))),
        ]
    lead = f"{record['folds']} runs, each tested on the images that it was not trained on, so that every image is tested once."
    return Page(
        record["name"],
        lead,
        list(_facts(record, columns, predictions)),
        sections,
        f"Made by regulo crossval on {record['date']}.",
    )


def _facts(record: Mapping[str, Any], columns: Sequence[Column], predictions: Predictions | None) -> Iterator[Fact]:
    means = record["plans"][0]["mean"]
    for column in columns[:2]:
        if column.key in means:
            unit = column.unit if column.unit == "%" else ""
            yield Fact(
                f"{column.label}, mean", column.format_value(means[column.key]["mean"]) + unit, _range(means[column.key], column)
            )
    if predictions:
        n = len(record["suspects"])
        yield Fact("images", f"{len(predictions.images):,}", f"in {record['folds']} folds")
        yield Fact("doubtful labels", f"{n:,}", f"{n / len(predictions.images):.1%} of the images")


def _range(interval: Mapping[str, Any], column: Column) -> str:
    """The 95% interval as text; empty if there is none."""
    if interval["low"] is None:
        return ""
    return f"{column.format_value(interval['low'])} to {column.format_value(interval['high'])}"


def _scores(record: Mapping[str, Any], columns: Sequence[Column]) -> Iterator[Block]:
    for plan in record["plans"]:
        rows = [
            [TableCell(str(fold)), *(_cell(column, plan["values"][column.key][fold]) for column in columns)]
            for fold in range(record["folds"])
        ]
        means = [plan["mean"].get(column.key) for column in columns]
        summary = [
            TableCell(column.format_value(mean["mean"]), _range(mean, column)) if mean else TableCell("–")
            for column, mean in zip(columns, means, strict=True)
        ]
        name = "The plan" if plan["label"] == PLAN else "The plan against it"
        seeds = f", each the mean over {record['seeds']} seeds" if record["seeds"] > 1 else ""
        caption = f"{name}: scores of each fold{seeds}; the last row has the mean and its 95% interval"
        yield Table(caption, ("fold", *(column.title for column in columns)), [*rows, [TableCell("mean"), *summary]])


def _cell(column: Column, value: float | None) -> TableCell:
    return TableCell("–" if value is None else column.format_value(value))


def _comparison(record: Mapping[str, Any], columns: Sequence[Column]) -> Iterator[Block]:
    if not record["difference"]:
        return
    yield Text(f"The second plan: {' '.join(record['plans'][1]['overrides'])}")
    rows = []
    for column in columns:
        if column.key in record["difference"]:
            difference = Difference.from_record(record["difference"][column.key])
            cell = TableCell(difference.format(column), "", difference.mark(column))
            rows.append([TableCell(f"{column.label}, {column.difference_unit}".strip(", ")), cell, TableCell(str(difference.n))])
    caption = "Mean of the differences fold by fold, with the 95% interval. ▲ significantly better, ▼ significantly worse."
    yield Table(caption, ("", "plan − against", "folds"), rows)


def _confusion(predictions: Predictions | None) -> Iterator[Block]:
    if predictions is None:
        return
    logits = torch.from_numpy(predictions.probabilities).clamp(min=1e-30).log().float()
    output = EvalOutput(logits, torch.from_numpy(predictions.labels))
    yield Figures([run_figures.confusion_picture(output, predictions.classes)])
    rows = [
        [TableCell(f"{label} → {prediction}"), TableCell(f"{n:,}"), TableCell(f"{100 * share:.1f}%")]
        for label, prediction, n, share in run_figures.top_confusions(output, predictions.classes)
    ]
    if rows:
        yield Table("The most frequent mistakes", ("label → prediction", "images", "of the label"), rows)


def _suspects(record: Mapping[str, Any], predictions: Predictions | None, data: DatasetConfig) -> Iterator[Block]:
    if predictions is None:
        return
    suspects = record["suspects"]
    if not suspects:
        yield Text("None: no image belongs confidently to another class than its label says.")
        return
    yield Text(
        "The out-of-fold predictions say confidently that these images belong to another class. Look at them, the first ones are "
        "the most doubtful: the label may be wrong, or the image may be a hard one. Confident means: the probability of the "
        "other class is at least as high as it is on average for images with that label (confident learning, arXiv:1911.00068)."
    )
    photos = _photos(suspects[:MAX_SHOWN], data)
    if photos:
        yield Gallery(photos)
    else:
        yield Text("The images are not shown, because they cannot be read here.")
    rows = [[TableCell(text) for text in (s["image"], s["label"], s["suggestion"], _percent(s))] for s in suspects[:MAX_LISTED]]
    caption = f"the first {MAX_LISTED:,} of {len(suspects):,}" if len(suspects) > MAX_LISTED else "all of them"
    yield Table(caption, ("image", "label", "suggestion", "probability of the label"), rows, folded=len(rows) > 20, words=True)


def _percent(suspect: Mapping[str, Any]) -> str:
    return f"{100 * suspect['self_confidence']:.1f}%"


def _photos(suspects: Sequence[Mapping[str, Any]], data: DatasetConfig) -> list[Photo]:
    """Those of the images that can be read here."""
    try:
        images = _image_source(data)
    except Exception:  # the data may have moved
        return []
    photos = []
    for suspect in suspects:
        try:
            png = join_thumbnails([make_thumbnail(images(suspect["image"]))])
        except Exception:  # a decoder may raise anything on a damaged file
            continue
        text = f"{suspect['image']}: {suspect['label']} → {suspect['suggestion']}? ({_percent(suspect)})"
        photos.append(Photo(png, text))
    return photos


def _image_source(data: DatasetConfig) -> Callable[[str], bytes | np.ndarray]:
    """A function that returns the path, or the pixels, of an image by its name in the predictions."""
    if isinstance(data, FileDatasetConfig):
        root = data.root_folder()
        return lambda name: os.fsencode(root / name)
    pool, _ = pool_images(data.splits())
    return lambda name: pool.images[int(name)]


def _unfinished_runs(record: Mapping[str, Any]) -> Iterator[Block]:
    runs = [run for plan in record["plans"] for run in plan["runs"] if run["status"] != "done"]
    if runs:
        yield Text("These runs are not done, and their folds are in none of the numbers; the same command continues:")
        yield Bullets([f"{run['folder']}: {run['error'] or run['status']}" for run in runs])


def _method(record: Mapping[str, Any]) -> Iterator[Block]:
    yield Text(record["method"])
    yield from (Text(f"{note[:1].upper()}{note[1:]}.") for note in record["notes"])
    yield Text(f"It ran on {record['hardware']}, {record['date']}. To repeat it, or to continue where it stopped:")
    yield Code(record["command"])
    rows = [[TableCell(plan["label"]), TableCell(" ".join(plan["overrides"]))] for plan in record["plans"]]
    yield Table("What each plan is: overrides of the default.", ("plan", "overrides"), rows, folded=True, words=True)
