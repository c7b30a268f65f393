"""`regulo inspect`: one page about a data set, before any training."""

import csv
import io
import os
from collections.abc import Sequence

from regulo.analysis.inspection.findings import Finding
from regulo.config import compose
from regulo.core.console import CONSOLE
from regulo.core.errors import InputError, Problem, one_line
from regulo.core.files import atomic_write
from regulo.core.paths import expand_path
from regulo.evaluation.restore import without_input_checks


def inspect(words: Sequence[str], output: str | None) -> int:
    """Look into all images of a data set, print what is wrong, and write a page and a list of files.

    words: overrides of `regulo train`, or the folder of the images. output: the page; None: inspect.html. Returns 1 if there is a
    problem, else 0. Raises InputError if the data cannot be listed.
    """
    words = [f"data.root={word}" if _is_folder(word) else word for word in words]
    if any(word.startswith("data.root=") for word in words) and not any(word.startswith("data=") for word in words):
        words = ["data=image_folder", *words]
    page_file = expand_path(output or "inspect.html")
    if not page_file.parent.is_dir():
        raise InputError(Problem("--output", f"there is no folder {page_file.parent}", "make it, or name another file"))
    config = without_input_checks(compose.load_config(words))

    from regulo.analysis.inspection.findings import find_problems
    from regulo.analysis.inspection.images import read_images
    from regulo.analysis.inspection.page import build_page
    from regulo.analysis.report import html

    images = read_images(config.data)
    findings = find_problems(images)
    counts = {split: sum(per_class) for split, per_class in images.counts().items()}
    CONSOLE.print(f"{images.source}: {len(images.classes)} classes, " + ", ".join(f"{n:,} {s}" for s, n in counts.items()))
    for note in images.notes:
        CONSOLE.print(note, soft_wrap=True)
    for finding in findings:
        mark = "problem" if finding.is_problem else "look at"
        CONSOLE.print(one_line(f"{mark}: {finding.what} — {finding.remedy}"), soft_wrap=True)
    if not findings:
        CONSOLE.print("nothing is wrong: all images can be read, and no two are alike")
    html.save(build_page(images, findings), page_file)
    list_file = page_file.with_suffix(".csv")
    atomic_write(list_file, list_findings(findings, images.classes))
    CONSOLE.print(f"page: {page_file}", f"files: {list_file}", sep="\n", soft_wrap=True)
    return int(any(finding.is_problem for finding in findings))


def list_findings(findings: Sequence[Finding], classes: Sequence[str]) -> str:
    """All findings with their files, as CSV: a row for each image; those of one group have one number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("finding", "group", "image", "split", "class", "error"))
    for finding in findings:
        for number, group in enumerate(finding.groups):
            for image in group:
                cells = (finding.kind, number, image.name, image.place.split, classes[image.place.label], image.error)
                writer.writerow(cells)
    return file.getvalue()


def _is_folder(word: str) -> bool:
    return "=" not in word and os.path.isdir(os.path.expanduser(word))
