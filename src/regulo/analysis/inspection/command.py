"""`regulo inspect`: one page about a data set, before any training."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from regulo.analysis.inspection.findings import MADE_BY, Finding
from regulo.config import compose
from regulo.core.console import CONSOLE
from regulo.core.errors import InputError, Problem, nearest, one_line
from regulo.core.files import atomic_write, new_file_path, report_write_errors
from regulo.core.paths import expand_path
from regulo.evaluation.prediction_files import for_spreadsheet, path_for_spreadsheet
from regulo.evaluation.restore import without_input_checks

COLUMNS = ("finding", "group", "image", "split", "class", "error")
"""of the list of files"""
MANY_FOLDERS = 1000
"""beside a folder that is not there, among which no similar name is searched"""


def inspect(words: Sequence[str], output: str | None) -> int:
    """Look into all images of a data set, print what is wrong, and write a page and a list of files.

    words: overrides of `regulo train`, or the folder of the images. output: the page; None: inspect.html. Returns 1 if there is a
    problem, else 0. Raises InputError if the data cannot be listed.
    """
    words = [word if _is_override(word) else f"data.root={_check_folder(word)}" for word in words]
    if any(word.startswith("data.root=") for word in words) and not any(word.startswith("data=") for word in words):
        words = ["data=image_folder", *words]
    page_file = expand_path(output or "inspect.html")
    list_file = page_file.with_suffix(".csv")
    _check_output(page_file, list_file)
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
    page = build_page(images, findings)
    with report_write_errors(page_file):
        html.save(page, page_file)
        atomic_write(list_file, list_findings(findings, images.classes))
    CONSOLE.print(f"page: {page_file}", f"files: {list_file}", sep="\n", soft_wrap=True)
    return int(any(finding.is_problem for finding in findings))


def list_findings(findings: Sequence[Finding], classes: Sequence[str]) -> str:
    """All findings with their files, as CSV: a row for each image; those of one group have one number.

    No cell is one that a spreadsheet would run.
    """
    file = io.StringIO()
    writer = csv.writer(file)  # its line ends let it quote every line end in a file name
    writer.writerow(COLUMNS)
    for finding in findings:
        for number, group in enumerate(finding.groups):
            for image in group:
                name, label = path_for_spreadsheet(image.name), for_spreadsheet(classes[image.place.label])
                writer.writerow((finding.kind, number, name, image.place.split, label, for_spreadsheet(image.error)))
    return file.getvalue()


def _is_override(word: str) -> bool:
    """Whether a word sets a key, or removes one: `~key`, which is no folder of a user."""
    return "=" in word or (word.startswith("~") and not expand_path(word).is_dir())


def _check_folder(word: str) -> str:
    """Return a word of the command line that is a folder. Raises InputError for any other."""
    path = expand_path(word)
    if path.is_dir():
        return word
    if path.is_file():
        raise InputError(Problem(word, "is a file, and no folder of images", f"of a table: data=image_table data.table={word}"))
    folders = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    hint = nearest(path.name, folders) if len(folders) <= MANY_FOLDERS else ""
    raise InputError(Problem(word, "is neither a folder that is there nor key=value", hint or "name the folder of your images"))


def _check_output(page_file: Path, list_file: Path) -> None:
    """Raise InputError if the files cannot be made, or would replace other files than those of an earlier inspection."""
    key, hint = "--output", "name another file"
    if page_file.suffix.lower() != ".html":
        raise InputError(Problem(key, f"{page_file.name} does not end in .html", f"{page_file.name}.html"))
    for file, mark in ((page_file, MADE_BY), (list_file, ",".join(COLUMNS))):
        if not file.exists() and not file.is_symlink():
            new_file_path(str(file), key)
        elif not file.is_file() or mark not in file.read_text("utf-8", "replace"):
            raise InputError(Problem(key, f"{file} exists, and no regulo inspect has written it", hint))
