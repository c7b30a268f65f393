"""The page of a run."""

import datetime
import functools
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regulo.analysis.report import html, predictions, repeat, run_figures, style
from regulo.analysis.report.page import (
    Block,
    Bullets,
    Cell,
    Code,
    Fact,
    Figures,
    Gallery,
    Page,
    Photo,
    Picture,
    Section,
    Table,
    Text,
)
from regulo.analysis.report.predictions import RunPredictions
from regulo.core.errors import InputError
from regulo.tracking import records
from regulo.tracking.run_dir import SPLITS, RunFolder

SPLIT_TITLES = dict(zip(SPLITS, ("clean train", "validation", "test"), strict=True))
SCORES = {"acc": ("accuracy", 4), "loss": ("NLL, nats", 4), "ece": ("ECE", 4), "brier": ("Brier score", 4)}
MISTAKES = 16
"""images of the gallery"""


def write(run: Path) -> Path:
    """Write `report.html` into a run's folder; returns its path. Raises InputError if it is none."""
    folder = RunFolder.open(run)
    return html.save(build(folder), folder.path / "report.html")


def build(folder: RunFolder) -> Page:
    """What there is to say of a run, finished or not."""
    config, result, plan = folder.read_config(), records.read_result(folder), records.read_plan(folder)
    answered = predictions.predict_again(folder) if result.get("status") == "done" else "the run is not finished"
    given = answered if isinstance(answered, RunPredictions) else None
    with style.applied():
        sections = [
            Section("Learning", list(_learning(folder, result, given))),
            Section("Scores", list(_scores(result, given))),
            Section("Answers on the test images", list(_answers(result, answered))),
            Section("What the network saw", list(_samples(folder))),
            Section("Worst mistakes", list(_mistakes(folder, given))),
            Section("Regularization", list(_plan(plan))),
            Section("Verdict", list(_verdict(folder, result))),
            Section("The machine", [_machine(result, config, records.read_environment(folder))]),
            Section("Again", list(_again(config))),
        ]
    techniques = config.get("regularizer") if isinstance(config.get("regularizer"), Mapping) else ()
    model, data = (_named(config, group, "name") for group in ("model", "data"))
    by = ", ".join(map(str, techniques)) if techniques else "nothing but its architecture"
    strength = "" if config.get("strength", 1) == 1 else f", strength {config['strength']}"
    lead = f"{model} on {data}, regularized by {by}{strength}; seed {config.get('seed')}, n = 1 run. {_ending(result)}"
    made = f"Made by regulo report on {datetime.date.today()} from {folder.path.name}/."
    name = "" if config.get("name") == "run" else f"{config.get('name')}: "
    return Page(f"{name}{model} on {data}", lead, list(_facts(result, given)), sections, made)


def _named(config: Mapping[str, Any], group: str, key: str) -> str:
    """What a configuration says; it need not be valid, for it may be of another version."""
    part = config.get(group)
    return str(part.get(key, "?"))[:100] if isinstance(part, Mapping) else "?"


def _ending(result: dict[str, Any]) -> str:
    """How the run ended, in a sentence."""
    if result.get("status") == "done":
        return f"It hands on the {result['weights']} weights, those of epoch {result['weights_epoch']} of {result['epochs']}."
    status = result.get("status", "not begun")
    if status == "crashed":
        return "This run crashed: its process ended without a word."
    return f"This run is {status}" + (f": {result['error']}." if "error" in result else ".")


def _facts(result: dict[str, Any], given: RunPredictions | None) -> Iterator[Fact]:
    if result.get("status") != "done":
        return
    acc, note = result["test/acc"], ""
    if given:
        n = given.sizes["test"]
        note = f"± {100 * math.sqrt(acc * (1 - acc) / n):.2f} (standard error, n = {n:,} images)"
    yield Fact("test accuracy", f"{100 * acc:.2f}%", note)
    yield Fact("test NLL", f"{result['test/loss']:.3f}", "nats")
    yield Fact("test ECE", f"{result['test/ece']:.3f}", "15 bins")
    yield Fact("gap", f"{100 * result['gap/acc']:.1f} points", "clean train − validation")


def _learning(folder: RunFolder, result: dict[str, Any], given: RunPredictions | None) -> Iterator[Block]:
    run = run_figures.curves(records.read_metrics(folder), result.get("weights_epoch"))
    images = "clean training and on validation images, one run"
    if given:
        images = f"{given.sizes['train_clean']:,} clean training and {given.sizes['val']:,} validation images, one run"
    pictures = run_figures.learning(run, images)
    if not pictures:
        yield Text("No epoch was logged.")
        return
    yield Figures(pictures)
    keys = [k for k in ("train/loss", "train_clean/acc", "train_clean/loss", "val/acc", "val/loss", "lr") if k in run.by_epoch]
    epochs = sorted({e for k in keys for e in run.by_epoch[k]})
    table = [[Cell(str(e)), *(Cell(f"{run.by_epoch[k][e]:.4g}" if e in run.by_epoch[k] else "–") for k in keys)] for e in epochs]
    yield Table("The numbers by epoch", ["epoch", *keys], table, folded=True)


def _scores(result: dict[str, Any], given: RunPredictions | None) -> Iterator[Block]:
    rows = []
    for split, name in SPLIT_TITLES.items():
        if f"{split}/acc" in result:
            size = [Cell(f"{given.sizes[split]:,}")] if given else []
            scores = [Cell(f"{result[f'{split}/{key}']:.{digits}f}") for key, (_, digits) in SCORES.items()]
            rows.append([Cell(name), *size, *scores])
    if rows:
        caption = (
            "Final scores of the weights that are handed on. NLL: mean negative log-likelihood; the Brier score lies in 0 to 2."
        )
        yield Table(caption, ["split", *(["images"] if given else []), *(name for name, _ in SCORES.values())], rows)


def _answers(result: dict[str, Any], answered: RunPredictions | str) -> Iterator[Block]:
    if isinstance(answered, str):
        if result.get("status") == "done":
            yield Text(f"No calibration diagram, confusion or mistakes: the test images cannot be scored here ({answered}).")
        return
    scores = answered.test.scores()
    if abs(scores["acc"] - result["test/acc"]) > 0.5 / answered.sizes["test"]:
        was, now = (f"{100 * value:.2f}%" for value in (result["test/acc"], scores["acc"]))
        yield Text(f"Scored again for this page, the test accuracy is {now}; the run itself said {was}.")
    pictures: list[Picture] = [run_figures.calibration(answered.test, scores["ece"])]
    yield Figures([*pictures, run_figures.confusion(answered.test, answered.facts.classes)])
    pairs = run_figures.confusions(answered.test, answered.facts.classes)
    if pairs:
        rows = [[Cell(f"{label} → {answer}"), Cell(str(n)), Cell(f"{100 * p:.1f}%")] for label, answer, n, p in pairs]
        yield Table("The most frequent mistakes on the test images.", ["label → answer", "images", "of the label"], rows)


def _samples(folder: RunFolder) -> Iterator[Block]:
    file = folder.figures / "samples.png"
    if file.is_file():
        text = "Images of the first training batches, after augmentation and mixing, with the labels that they were given."
        yield Gallery([Photo(file.read_bytes(), text)], large=True)


def _mistakes(folder: RunFolder, given: RunPredictions | None) -> Iterator[Block]:
    from regulo.callbacks.mistakes import worst

    if not given:
        return
    p = given.test.logits.softmax(1)
    names = given.facts.classes
    photos = []
    for i in worst(given.test, MISTAKES):
        label, answer = int(given.test.labels[i]), int(p[i].argmax())
        text = f"{names[label]} → {names[answer]} {p[i, answer]:.2f}"
        photos.append(Photo(_photo(given.split.images[i]), text))
    if photos:
        yield Text("Wrong answers whose own class got the least probability: label → answer, how sure. Often the label is wrong.")
        yield Gallery(photos)


def _photo(image: np.ndarray) -> bytes:
    """An image (H, W, C) uint8 as PNG, at most 224 pixels wide."""
    from PIL import Image

    file = io.BytesIO()
    picture = Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])
    picture.thumbnail((224, 224))
    picture.save(file, "PNG")
    return file.getvalue()


def _plan(rows: Sequence[Mapping[str, str]]) -> Iterator[Block]:
    if not rows:
        yield Text("None but what the architecture brings.")
        return
    header = ["technique", "where it acts", "strength", "source"]
    table = [[Cell(row[key]) for key in ("technique", "hook", "strength", "source")] for row in rows]
    yield Table("The plan, in the order in which it acts.", header, table, words=True)


def _verdict(folder: RunFolder, result: dict[str, Any]) -> Iterator[Block]:
    if result.get("status") not in ("done", "failed"):
        return
    from regulo.analysis.doctor.verdict import give_verdict

    try:
        verdict = give_verdict(folder)
    except InputError:
        return  # the section that repeats the run says why
    yield Text(f"This run {verdict.regime}." if verdict.regime.endswith("fits") else f"This run is {verdict.regime}.")
    yield Bullets(verdict.evidence)
    if verdict.next:
        yield Text("What to try next:")
        yield Code("\n".join(verdict.next))


def _machine(result: dict[str, Any], config: dict[str, Any], environment: dict[str, str]) -> Table:
    trainer = functools.partial(_named, config, "trainer")
    known: list[tuple[str, str]] = [
        ("device", f"{trainer('accelerator')} × {trainer('devices')}"),
        ("precision", f"{trainer('precision')}, {trainer('memory_format')}"),
        ("parameters", f"{result['params']:,}" if "params" in result else ""),
        ("training", f"{result['fit_seconds']:.0f} s, {result['steps']:,} steps" if "steps" in result else ""),
        ("rate", f"{result['images_per_second']:,.0f} images/s, validation excluded" if "images_per_second" in result else ""),
        ("an epoch", f"{result['epoch_seconds']:.2f} s (median)" if "epoch_seconds" in result else ""),
        ("peak memory", f"{result['peak_memory_mb']:,} MB" if "peak_memory_mb" in result else ""),
        *environment.items(),
    ]
    return Table("What it ran on.", ["", ""], [[Cell(name), Cell(value)] for name, value in known if value], words=True)


def _again(config: dict[str, Any]) -> Sequence[Block]:
    try:
        return [Text("The same run, in a folder of its own:"), Code(repeat.command(config))]
    except InputError as refusal:
        return [Text(f"Its configuration is not valid any more: {refusal}")]
