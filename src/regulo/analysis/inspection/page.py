"""The page of an inspection, from the parts that reports have."""

import datetime
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from regulo.analysis.inspection.findings import MADE_BY, Finding, count_kinds
from regulo.analysis.inspection.images import ImageFacts, ImageSet
from regulo.analysis.report import style
from regulo.analysis.report.page import (
    Block,
    Bullets,
    Fact,
    Figures,
    Gallery,
    Page,
    Photo,
    Picture,
    Section,
    Table,
    TableCell,
    Text,
)
from regulo.analysis.report.thumbnails import SIDE, join_thumbnails
from regulo.core.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHEET_CLASSES, SHEET_IMAGES = 24, 8
"""classes on the contact sheet, and images of each"""
MAX_SHOWN, MAX_LISTED = 12, 500
"""groups of a finding that are shown as pictures, and that are listed"""


def build_page(images: ImageSet, findings: Sequence[Finding]) -> Page:
    """The page of a data set and what was found in it."""
    with style.figure_style():
        sections = [
            Section("What to look at", list(_overview(images, findings))),
            Section("Classes", list(_classes(images))),
            Section("Contact sheet", list(_contact_sheet(images))),
            Section("Sizes and formats", list(_sizes(images.facts))),
            *(Section(_capitalize(finding.what), list(_finding(images, finding))) for finding in findings if finding.groups),
        ]
    n, counts = len(images.facts), images.counts()
    sizes = ", ".join(f"{sum(per_class):,} {split}" for split, per_class in counts.items())
    facts = [
        Fact("images", f"{n:,}", sizes),
        Fact("classes", f"{len(images.classes):,}", f"{min(counts['train']):,} to {max(counts['train']):,} images in train"),
        Fact("problems", str(sum(finding.is_problem for finding in findings))),
    ]
    lead = f"What is in {images.source}, before anything is trained on it."
    return Page("Inspection", lead, facts, sections, f"{MADE_BY} {datetime.date.today()}.")


def _overview(images: ImageSet, findings: Sequence[Finding]) -> Iterator[Block]:
    if findings:
        yield Bullets([f"{_capitalize(finding.what)}: {finding.remedy}." for finding in findings])
    else:
        yield Text("Nothing is wrong: all images can be read, and no two are alike.")
    if images.notes:
        yield Text("How the data are read:")
        yield Bullets([f"{note}." for note in images.notes])


def _classes(images: ImageSet) -> Iterator[Block]:
    counts = images.counts()
    rows = [
        [TableCell(name), *(TableCell(f"{per_class[k]:,}") for per_class in counts.values())]
        for k, name in enumerate(images.classes)
    ]
    rows.append([TableCell("all"), *(TableCell(f"{sum(per_class):,}") for per_class in counts.values())])
    yield Table("images of each class", ("class", *counts), rows, folded=len(rows) > 40)


def _contact_sheet(images: ImageSet) -> Iterator[Block]:
    rng = np.random.default_rng(0)
    by_class: dict[int, list[ImageFacts]] = {}
    for image in images.facts:
        if not image.error and image.place.split == "train":
            by_class.setdefault(image.place.label, []).append(image)
    photos = []
    for label in sorted(by_class)[:SHEET_CLASSES]:
        several = by_class[label]
        chosen = [several[i] for i in sorted(rng.permutation(len(several))[:SHEET_IMAGES])]
        photos.append(Photo(_strip(images, chosen), images.classes[label]))
    more = f" Only the first {SHEET_CLASSES} of {len(images.classes)} classes." * (len(images.classes) > SHEET_CLASSES)
    yield Text(f"Up to {SHEET_IMAGES} training images of each class, drawn at random; the middle square of each.{more}")
    for photo in photos:
        yield Gallery([photo], large=True)


def _sizes(facts: Sequence[ImageFacts]) -> Iterator[Block]:
    readable = [image for image in facts if not image.error]
    if not readable:
        return
    short = np.array([min(image.height, image.width) for image in readable])
    long = np.array([max(image.height, image.width) for image in readable])
    if short.min() < long.max():
        text = f"n = {len(readable):,} images, pixels."
        yield Figures([Picture("sides", "Sides of the images", text, _side_figure(short, long))])
    rows = [
        [TableCell(name), *(TableCell(f"{value:,.0f}") for value in np.quantile(sides, (0, 0.5, 1)))]
        for name, sides in (("shorter side", short), ("longer side", long))
    ]
    yield Table("pixels", ("side", "smallest", "median", "largest"), rows)
    kinds = [[TableCell(kind), TableCell(f"{n:,}")] for kind, n in count_kinds(facts).most_common()]
    if turned := sum(image.turned for image in readable):
        kinds.append([TableCell("turned by EXIF"), TableCell(f"{turned:,}")])
    yield Table("format and mode", ("", "images"), kinds)
    extremes = [
        ("smallest", min(readable, key=lambda image: image.height * image.width)),
        ("largest", max(readable, key=lambda image: image.height * image.width)),
        ("longest for its width", max(readable, key=lambda i: max(i.height / i.width, i.width / i.height))),
    ]
    names = [[TableCell(what), TableCell(image.name), TableCell(f"{image.height} × {image.width}")] for what, image in extremes]
    yield Table("extremes", ("", "image", "height × width"), names, words=True)


def _side_figure(short: np.ndarray, long: np.ndarray) -> "Figure":
    figure = new_figure(style.WIDTH, 2.2)
    axes = figure.add_subplot()
    bins = np.geomspace(max(1, short.min()), long.max() + 1, 30).tolist()
    for sides, name, color in ((short, "shorter", "blue"), (long, "longer", "red")):
        axes.hist(sides, bins=bins, histtype="step", color=style.LIGHT[color], label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda side, _: f"{side:,.0f}")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel("side in pixels")
    axes.set_ylabel("images")
    axes.legend(frameon=False)
    return figure


def _finding(images: ImageSet, finding: Finding) -> Iterator[Block]:
    yield Text(f"{_capitalize(finding.remedy)}.")
    if finding.kind == "unreadable":
        rows = [[TableCell(image.name), TableCell(image.error)] for (image,) in finding.groups[:MAX_LISTED]]
        yield Table("files", ("file", "why"), rows, words=True, folded=len(rows) > 20)
        return
    shown = [group[:4] for group in finding.groups[:MAX_SHOWN]]
    photos = [Photo(_strip(images, group), " = ".join(_describe(images, image) for image in group)) for group in shown]
    yield Gallery(photos)
    rows = [[TableCell(_describe(images, image)) for image in group[:2]] for group in finding.groups[:MAX_LISTED]]
    caption = f"the first {MAX_LISTED} of {len(finding.groups):,}" if len(finding.groups) > MAX_LISTED else "all of them"
    yield Table(caption, ("image", "other image"), rows, folded=True, words=True)


def _describe(images: ImageSet, image: ImageFacts) -> str:
    return f"{image.name} ({image.place.split}, {images.classes[image.place.label]})"


def _strip(images: ImageSet, several: Sequence[ImageFacts]) -> bytes:
    """Images side by side, as PNG."""
    return join_thumbnails([_thumbnail(images, image) for image in several])


def _thumbnail(images: ImageSet, image: ImageFacts) -> np.ndarray:
    """A small image; a gray square for a file that cannot be read, which may be a copy of another one all the same."""
    try:
        return images.thumbnail(image.place)
    except Exception:  # a decoder may raise anything on a damaged file
        return np.full((SIDE, SIDE, 3), 200, np.uint8)


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]
