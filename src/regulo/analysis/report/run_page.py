"""The page of a run."""

import datetime
import functools
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from regulo.analysis.report import predictions, repeat, run_figures, style
from regulo.analysis.report.page import (
    Block,
    Bullets,
    Code,
    Fact,
    Figures,
    Gallery,
    Page,
    Photo,
    Section,
    Table,
    TableCell,
    Text,
)
from regulo.analysis.report.predictions import RunPredictions
from regulo.core.errors import InputError
from regulo.core.metrics.base import list_metrics
from regulo.tracking import class_scores, records
from regulo.tracking.class_scores import ClassScores
from regulo.tracking.records import EvaluationRecord, Metrics
from regulo.tracking.run_dir import SPLITS, RunFolder

SPLIT_TITLES = dict(zip(SPLITS, ("clean train", "validation", "test"), strict=True))
CURVES = ("train/loss", "train_clean/acc", "train_clean/loss", "val/acc", "val/loss", "lr")
"""the columns of the table by epoch"""
MAX_ROWS = 1000
"""rows up to which the table by epoch has all epochs"""
MAX_CLASSES = 30
"""classes up to which the table by class is open"""
MISTAKES = 16
"""images of the gallery"""


def build(folder: RunFolder, data_root: str | None = None) -> Page:
    """The page of a run, finished or not. Raises InputError if a file of the run is not what Regulo writes.

    `data_root`: the folder of the data, if they have moved.
    """
    config, result, plan = folder.read_config(), records.read_result(folder), records.read_plan(folder)
    metrics = records.read_metrics(folder)
    outputs, why_none = None, "the run is not finished"
    if result.get("status") == "done":
        prediction = predictions.predict_again(folder, data_root)
        if isinstance(prediction, RunPredictions):
            outputs = prediction
        else:
            why_none = prediction
    with style.figure_style():
        sections = [
            Section("Learning", list(_learning(metrics, result, outputs))),
            Section(
                "Scores",
                [
                    *_scores(result, outputs),
                    *_class_tables(class_scores.read_class_scores(folder)),
                    *_other_scores(records.read_evaluations(folder)),
                ],
            ),
            Section("Predictions on the test images", list(_predictions(result, outputs, why_none))),
            Section("What the network saw", list(_samples(folder))),
            Section("Worst mistakes", list(_mistakes(outputs))),
            Section("Regularization", list(_plan(plan))),
            Section("Verdict", list(_verdict(folder, metrics, result))),
            Section("The machine", [_machine(result, config, records.read_environment(folder))]),
            Section("Again", list(_again(config))),
        ]
    subject = f"{_setting(config, 'model', 'name')} on {_setting(config, 'data', 'name')}"
    title = subject if config.get("name") == "run" else f"{config.get('name')}: {subject}"
    colophon = f"Made by regulo report on {datetime.date.today()} from {folder.path.name}/."
    return Page(title, _lead(subject, config, result), list(_facts(result, outputs)), sections, colophon)


def _lead(subject: str, config: Mapping[str, Any], result: dict[str, Any]) -> str:
    """What was trained, with which techniques, and how the run ended."""
    techniques = config.get("regularizer")
    names = ", ".join(map(str, techniques)) if isinstance(techniques, Mapping) else ""
    strength = "" if config.get("strength", 1) == 1 else f", strength {config['strength']}"
    regularization = f"regularized by {names or 'its architecture only'}{strength}"
    return f"{subject}, {regularization}; seed {config.get('seed')}, n = 1 run. {_ending(result)}"


def _setting(config: Mapping[str, Any], group: str, key: str) -> str:
    """A value of a configuration, or "?". The configuration may not be valid: it may be of another version."""
    section = config.get(group)
    return str(section.get(key, "?"))[:100] if isinstance(section, Mapping) else "?"


def _ending(result: dict[str, Any]) -> str:
    """How the run ended, in a sentence."""
    if result.get("status") == "done":
        return f"Its final weights are the {result['weights']} ones, of epoch {result['weights_epoch']} of {result['epochs']}."
    status = result.get("status", "not started")
    if status == "crashed":
        return "This run crashed: its process ended without reporting an error."
    return f"This run is {status}" + (f": {result['error']}." if "error" in result else ".")


def _facts(result: dict[str, Any], outputs: RunPredictions | None) -> Iterator[Fact]:
    if result.get("status") != "done":
        return
    accuracy, note = result["test/acc"], ""
    if outputs:
        n = outputs.sizes["test"]
        note = f"± {100 * math.sqrt(accuracy * (1 - accuracy) / n):.2f} (standard error, n = {n:,} images)"
    yield Fact("test accuracy", f"{100 * accuracy:.2f}%", note)
    yield Fact("test NLL", f"{result['test/loss']:.3f}", "nats")
    yield Fact("test ECE", f"{result['test/ece']:.3f}", "15 bins")
    yield Fact("gap", f"{100 * result['gap/acc']:.1f} points", "clean train − validation")


def _learning(metrics: Metrics, result: dict[str, Any], outputs: RunPredictions | None) -> Iterator[Block]:
    curves = run_figures.read_curves(metrics, result.get("weights_epoch"))
    images = "clean training and on validation images, one run"
    if outputs:
        images = f"{outputs.sizes['train_clean']:,} clean training and {outputs.sizes['val']:,} validation images, one run"
    pictures = run_figures.learning_pictures(curves, images)
    if not pictures:
        yield Text("No epoch was logged.")
        return
    yield Figures(pictures)
    yield _epoch_table({key: curves.by_epoch[key] for key in CURVES if key in curves.by_epoch})


def _epoch_table(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Table:
    """The values of curves (epochs, values) by epoch; of very many epochs, some at equal distances, and the last."""
    epochs = np.unique(np.concatenate([epochs for epochs, _ in curves.values()]))
    step = -(-len(epochs) // MAX_ROWS)
    shown = np.unique([*epochs[::step], epochs[-1]])
    columns = []
    for all_epochs, values in curves.values():
        chosen = np.isin(all_epochs, shown)
        columns.append(dict(zip(all_epochs[chosen].tolist(), values[chosen].tolist(), strict=True)))
    rows = [[str(epoch), *(f"{c[epoch]:.4g}" if epoch in c else "–" for c in columns)] for epoch in shown.tolist()]
    caption = "The numbers by epoch" + (f": every {step}th of {len(epochs):,}" if step > 1 else "")
    return Table(caption, ["epoch", *curves], _cells(rows), folded=True)


def _cells(rows: Sequence[Sequence[str]]) -> list[list[TableCell]]:
    return [[TableCell(text) for text in row] for row in rows]


def _scores(result: dict[str, Any], outputs: RunPredictions | None) -> Iterator[Block]:
    header = ["split", *(["images"] if outputs else []), *(metric.heading for metric in list_metrics())]
    rows = []
    for split, title in SPLIT_TITLES.items():
        if f"{split}/acc" in result:
            size = [f"{outputs.sizes[split]:,}"] if outputs else []
            scores = [result.get(f"{split}/{metric.name}") for metric in list_metrics()]
            rows.append([title, *size, *("–" if score is None else f"{score:.4f}" for score in scores)])
    if rows:
        caption = "Scores of the final weights. NLL: mean negative log-likelihood; the Brier score lies in 0 to 2."
        yield Table(caption, header, _cells(rows))


def _class_tables(rows: Sequence[ClassScores]) -> Iterator[Block]:
    """The scores of each class on the test split, and folded those on the validation split."""
    header = ["class", "images", "precision", "recall", "F1"]
    for split in ("test", "val"):
        cells = [[row["class"], f"{row['support']:,}", *_class_scores(row)] for row in rows if row["split"] == split]
        if cells:
            caption = f"Each class on the {SPLIT_TITLES[split]} images. Precision: of its predictions, the share that is right. "
            caption += "Recall: of its images, the share that is predicted right. F1: the harmonic mean of both."
            yield Table(caption, header, _cells(cells), folded=split == "val" or len(cells) > MAX_CLASSES)


def _class_scores(row: ClassScores) -> list[str]:
    scores = (row["precision"], row["recall"], row["f1"])
    return ["–" if score == "" else f"{score:.4f}" for score in scores]


def _other_scores(evaluations: Sequence[EvaluationRecord]) -> Iterator[Block]:
    """The scores on labeled images that are not the run's."""
    metrics = list_metrics()
    rows = []
    for record in evaluations:
        scores = [record.scores.get(f"data/{metric.name}") for metric in metrics]
        cells = ["–" if score is None else f"{score:.4f}" for score in scores]
        rows.append([record.data, f"{sum(record.images.values()):,}", *cells])
    if rows:
        header = ["images of", "images", *(metric.heading for metric in metrics)]
        yield Table("Scores on other images: regulo evaluate RUN --data FOLDER.", header, _cells(rows))


def _predictions(result: dict[str, Any], outputs: RunPredictions | None, why_none: str) -> Iterator[Block]:
    """Calibration and confusion; of a finished run without predictions, why there are none."""
    if outputs is None:
        if result.get("status") == "done":
            yield Text(f"No calibration diagram, confusion or mistakes: the test images cannot be scored here ({why_none}).")
        return
    scores, classes = outputs.test.scores(), outputs.dataset_info.classes
    if abs(scores["acc"] - result["test/acc"]) > 0.5 / outputs.sizes["test"]:
        before, now = (f"{100 * value:.2f}%" for value in (result["test/acc"], scores["acc"]))
        yield Text(f"Scored again for this page, the test accuracy is {now}; the run itself reported {before}.")
    yield Figures(
        [run_figures.calibration_picture(outputs.test, scores["ece"]), run_figures.confusion_picture(outputs.test, classes)]
    )
    confusions = run_figures.top_confusions(outputs.test, classes)
    if confusions:
        rows = [[f"{label} → {prediction}", str(n), f"{100 * share:.1f}%"] for label, prediction, n, share in confusions]
        header = ["label → prediction", "images", "of the label"]
        yield Table("The most frequent mistakes on the test images.", header, _cells(rows))


def _samples(folder: RunFolder) -> Iterator[Block]:
    file = folder.figures / "samples.png"
    if file.is_file():
        text = "Images of the first training batches, after augmentation and mixing, with their labels."
        yield Gallery([Photo(file.read_bytes(), text)], large=True)


def _mistakes(outputs: RunPredictions | None) -> Iterator[Block]:
    from regulo.callbacks.mistakes import worst

    if not outputs:
        return
    probabilities = outputs.test.logits.softmax(1)
    classes = outputs.dataset_info.classes
    photos = []
    for i in worst(outputs.test, MISTAKES):
        label, prediction = int(outputs.test.labels[i]), int(probabilities[i].argmax())
        text = f"{classes[label]} → {classes[prediction]} {probabilities[i, prediction]:.2f}"
        photos.append(Photo(_png(outputs.split.images[i]), text))
    if photos:
        yield Text(
            "Wrong predictions that gave the label the least probability: label → prediction, its probability. Often the label "
            "is wrong."
        )
        yield Gallery(photos)


def _png(image: np.ndarray) -> bytes:
    """An image (H, W, C) uint8 as PNG, at most 224 pixels wide and high."""
    from PIL import Image

    file = io.BytesIO()
    thumbnail = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])
    thumbnail.thumbnail((224, 224))
    thumbnail.save(file, "PNG")
    return file.getvalue()


def _plan(rows: Sequence[Mapping[str, str]]) -> Iterator[Block]:
    if not rows:
        yield Text("None but what the architecture brings.")
        return
    header = ["technique", "where it acts", "strength", "source"]
    table = [[row[key] for key in ("technique", "hook", "strength", "source")] for row in rows]
    yield Table("The plan, in the order in which it acts.", header, _cells(table), words=True)


def _verdict(folder: RunFolder, metrics: Metrics, result: dict[str, Any]) -> Iterator[Block]:
    if result.get("status") not in ("done", "failed"):
        return
    from regulo.analysis.doctor.verdict import give_verdict

    try:
        verdict = give_verdict(folder, metrics)
    except InputError:
        return  # the section "Again" says why
    yield Text(f"This run {verdict.regime}." if verdict.regime.endswith("fits") else f"This run is {verdict.regime}.")
    yield Bullets(verdict.evidence)
    if verdict.next:
        yield Text("What to try next:")
        yield Code("\n".join(verdict.next))


def _machine(result: dict[str, Any], config: dict[str, Any], environment: dict[str, str]) -> Table:
    trainer = functools.partial(_setting, config, "trainer")
    rows: list[tuple[str, str]] = [
        ("device", f"{trainer('accelerator')} × {trainer('devices')}"),
        ("precision", f"{trainer('precision')}, {trainer('memory_format')}" + ", compiled" * (trainer("compile") == "on")),
        ("parameters", f"{result['params']:,}" if "params" in result else ""),
        ("training", f"{result['fit_seconds']:.0f} s, {result['steps']:,} steps" if "steps" in result else ""),
        ("rate", f"{result['images_per_second']:,.0f} images/s, validation excluded" if "images_per_second" in result else ""),
        ("an epoch", f"{result['epoch_seconds']:.2f} s (median)" if "epoch_seconds" in result else ""),
        ("peak memory", f"{result['peak_memory_mb']:,} MB" if "peak_memory_mb" in result else ""),
        *environment.items(),
    ]
    return Table("What it ran on.", ["", ""], _cells([row for row in rows if row[1]]), words=True)


def _again(config: dict[str, Any]) -> Sequence[Block]:
    """The command that repeats the run."""
    try:
        return [Text("The same run, in a folder of its own:"), Code(repeat.command(config))]
    except InputError as refusal:
        return [Text(f"Its configuration is not valid anymore: {refusal}")]
