"""Files with labels from a table: each row is checked, and every kind of mistake is one message."""

import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from regulo.core.errors import is_printable, nearest, quote
from regulo.data.base import data_error
from regulo.data.components.labeled_files import Files, LabeledFiles
from regulo.data.components.split_folders import split_of
from regulo.data.components.table_file import KEY, TextTable, read_table

REFUSED_COLUMNS = {"weight": "weights of single images are not supported: remove the column, or give it another name"}
"""columns that somebody might think are used"""


def list_table(table_file: Path, root: Path) -> LabeledFiles:
    """The files of a table with the columns path and label, and perhaps split and group. Raises InputError.

    root: the folder that the paths are relative to.
    """
    table, paths, rows, notes = _read_rows(table_file, root)
    labels, splits = table.columns["label"], _read_splits(table)
    classes = _sort_labels({labels[i] for i in rows if splits[i] == "train"})
    _check_labels(table, rows, splits, classes)
    files: dict[str, Files] = {}
    for part in dict.fromkeys(part for part in ("train", "val", "test") if part in set(splits)):
        files[part] = {name: [] for name in classes}
    for i in rows:
        files[splits[i]][labels[i]].append(paths[i])
    by_class = {part: {name: sorted(same) for name, same in part_files.items()} for part, part_files in files.items()}
    groups = table.columns.get("group", ())
    return LabeledFiles(root, by_class, notes, {paths[i]: groups[i] for i in rows} if groups else {})


def list_labels(table_file: Path, root: Path) -> tuple[list[str], list[str], list[str]]:
    """The paths of the files of a table, relative to the root, their labels, and notes for people. Raises InputError."""
    table, paths, rows, notes = _read_rows(table_file, root)
    return [paths[i] for i in rows], [table.columns["label"][i] for i in rows], notes


def _read_rows(table_file: Path, root: Path) -> tuple[TextTable, list[str], list[int], list[str]]:
    """A table, the path of each row, the rows that name a file for the first time, and notes. Raises InputError."""
    table = read_table(table_file, ("path", "label"), ("split", "group"), REFUSED_COLUMNS)
    for name, column in table.columns.items():
        if empty := [i for i, text in enumerate(column) if not text]:
            _refuse_rows(table, empty, f"no {name}", "fill the cells, or remove the rows")
    paths = _relative_paths(table, root)
    _check_conflicts(table, paths)
    first_rows = {path: i for i, path in reversed(list(enumerate(paths)))}
    rows, notes = sorted(first_rows.values()), list(table.notes)
    if repeats := len(paths) - len(rows):
        notes.append(f"rows that repeat another one, and are left out: {repeats:,}")
    _check_files(table, paths, root)
    return table, paths, rows, notes


def _relative_paths(table: TextTable, root: Path) -> list[str]:
    """The paths relative to the root, each file with one spelling. Raises InputError for paths that lead out of the root."""
    real_root = os.path.realpath(root)
    paths = [_relative_path(text, root, real_root) for text in table.columns["path"]]
    if outside := [i for i, path in enumerate(paths) if path.split("/")[0] == ".."]:
        _refuse_rows(table, outside, f"a path that leads out of {root}", "data.root is the folder that has all images")
    if unreadable := [i for i, path in enumerate(paths) if not is_printable(path)]:
        _refuse_rows(table, unreadable, "a path with a character that cannot be shown", "look at the quotes")
    return paths


def _relative_path(text: str, root: Path, real_root: str) -> str:
    """One path relative to the root, spelled as the file is, if it is there in another spelling."""
    path = os.path.relpath(text, root) if os.path.isabs(text) else posixpath.normpath(text)
    if os.path.isabs(text) and path.split("/")[0] == "..":  # the root, or the path, may lead through a link
        folder, name = os.path.split(text)
        path = os.path.relpath(os.path.join(os.path.realpath(folder), name), real_root)
    if "\\" in path and not os.path.exists(root / path):
        path = posixpath.normpath(path.replace("\\", "/"))  # as Windows writes it
    if not path.isascii() and not os.path.exists(root / path):  # macOS and others have other normal forms of one name
        forms = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
        path = next((form for form in forms if os.path.exists(root / form)), path)
    return path


def _read_splits(table: TextTable) -> list[str]:
    """The split of each row; "train" for all if there is no such column."""
    column = table.columns.get("split")
    if column is None:
        return ["train"] * len(table.line_numbers)
    splits = [split_of(text) or "unclear" for text in column]
    if unclear := [i for i, split in enumerate(splits) if split == "unclear"]:
        _refuse_rows(table, unclear, f"the split {quote(column[unclear[0]])}", "write train, val or test")
    if "train" not in splits:
        raise data_error(
            KEY, f"no row has the split train; there are {', '.join(sorted(set(column))[:5])}", "write train, val or test"
        )
    return splits


def _check_conflicts(table: TextTable, paths: Sequence[str]) -> None:
    """Raise InputError for an image that two rows describe in two ways."""
    for name, column in table.columns.items():
        if name == "path":
            continue
        rows_by_path = defaultdict[str, dict[str, int]](dict)
        for i, (path, text) in enumerate(zip(paths, column, strict=True)):
            rows_by_path[path].setdefault(text, i)
        conflicts = [list(rows.values()) for rows in rows_by_path.values() if len(rows) > 1]
        if conflicts:
            rows = conflicts[0][:2]
            texts = " and ".join(quote(column[i]) for i in rows)
            lines = " and ".join(str(table.line_numbers[i]) for i in rows)
            n = f"{len(conflicts):,} images have" if len(conflicts) > 1 else "an image has"
            what = f"{n} two entries in the column {name}: {quote(paths[rows[0]])} has {texts} (lines {lines})"
            raise data_error(KEY, what, "keep the right row only")


def _check_files(table: TextTable, paths: Sequence[str], root: Path) -> None:
    """Raise InputError if files are missing."""
    missing = [i for i, path in enumerate(paths) if not os.path.isfile(root / path)]
    if not missing:
        return
    first = paths[missing[0]]
    candidates = [root.parent, Path.cwd(), *(entry for entry in sorted(root.iterdir()) if entry.is_dir())]
    folder = next((folder for folder in candidates if os.path.isfile(folder / first)), None)
    if folder:
        hint = f"data.root={folder}?"
    elif len(missing) == len(paths):
        hint = "data.root is the folder that the paths are relative to"
    else:
        hint = "put the files there, or remove the rows"
    names = ", ".join(quote(paths[i]) for i in missing[:5]) + (", …" if len(missing) > 5 else "")
    raise data_error(KEY, f"{len(missing):,} of {len(paths):,} files are not in {root.absolute()}: {names}", hint)


def _check_labels(table: TextTable, rows: Sequence[int], splits: Sequence[str], classes: Sequence[str]) -> None:
    """Raise InputError if there are fewer than two classes, or if val or test has a class that train has not."""
    labels = table.columns["label"]
    if len(classes) < 2:
        what = f"the training images have {len(classes)} class, {', '.join(map(quote, classes))}"
        raise data_error(KEY, what, "a classifier needs two classes or more")
    for name in classes:
        if not is_printable(name):
            raise data_error(KEY, f"the label {name!r} has no readable name", "rename it")
    class_set = set(classes)
    unknown = [i for i in rows if labels[i] not in class_set]
    if unknown:
        i = unknown[0]
        what = f"the label {quote(labels[i])} in {splits[i]}, which train does not have"
        _refuse_rows(table, unknown, what, nearest(labels[i], classes))


def _sort_labels(labels: Iterable[str]) -> list[str]:
    """In the order of the alphabet; whole numbers by their size."""
    names = sorted(labels)
    return sorted(names, key=int) if all(name.isdecimal() and len(name) < 20 for name in names) else names


def _refuse_rows(table: TextTable, rows: Sequence[int], what: str, hint: str) -> NoReturn:
    """Raise InputError that says how many rows have a mistake, and where the first ones are."""
    lines = ", ".join(str(table.line_numbers[i]) for i in rows[:5]) + (", …" if len(rows) > 5 else "")
    n = f"{len(rows):,} rows have" if len(rows) > 1 else "a row has"
    raise data_error(KEY, f"{n} {what} (line{'s' * (len(rows) > 1)} {lines})", hint)
