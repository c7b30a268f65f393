"""A table of texts from a CSV or Parquet file: any usual separator, quotes, a byte order mark."""

import codecs
import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulo.core.errors import nearest, quote
from regulo.core.safe_io import read_bytes
from regulo.core.text import join_first
from regulo.data.base import data_error

KEY = "data.table"
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
EXCEL_ROW = ["sep=", ""]
"""a first line such as `sep=;`, with which Excel says what separates the cells"""
LIMIT = 1 << 31
"""bytes of a file"""
PARQUET = b"PAR1"
"""the first bytes of a Parquet file"""


@dataclass(frozen=True)
class TextTable:
    """The columns of a table that were asked for; each has a text for each row, stripped of spaces. An empty cell is empty."""

    columns: Mapping[str, Sequence[str]]
    line_numbers: Sequence[int]
    """where each row is: its line in a CSV file, or its number, from 1"""
    notes: Sequence[str]
    """how the file was read, for people"""


def read_table(file: Path, required: Collection[str], optional: Collection[str], refused: Mapping[str, str]) -> TextTable:
    """The columns with these names, in any case. refused: columns that a table must not have, each with the hint.

    Raises InputError for a file that is no such table, for a column that is missing, twice there or refused.
    """
    content = read_bytes(file, LIMIT, KEY)
    if content.startswith(PARQUET):
        header, rows, how = _read_parquet(content, file, {*required, *optional})
        line_numbers = list(range(1, len(rows) + 1))
    else:
        header, rows, line_numbers, how = _read_csv(content, file)
    names = [name.strip().casefold() for name in header]
    for name, hint in refused.items():
        if name in names:
            raise data_error(KEY, f"{file} has a column {name!r}, which is not used", hint)
    if missing := [name for name in required if name not in names]:
        what = f"{file} has no column {' and no column '.join(map(repr, missing))}; it has {', '.join(map(quote, header[:10]))}"
        raise data_error(
            KEY, what, f"name the columns {', '.join([*required, *optional])}; {nearest(missing[0], names)}".strip("; ")
        )
    used = [name for name in (*required, *optional) if name in names]
    if doubles := [name for name in used if names.count(name) > 1]:
        raise data_error(KEY, f"{file} has two columns {doubles[0]!r}", "rename or remove one")
    if not rows:
        raise data_error(KEY, f"{file} has no row", "one row for each image")
    columns = {name: [row[names.index(name)].strip() for row in rows] for name in used}
    notes = [f"{len(rows):,} rows of {file.name}, {how}, with the columns {', '.join(used)}"]
    if others := [text for text, name in zip(header, names, strict=True) if name not in used]:
        notes.append(f"columns that are not used: {join_first(others)}")
    return TextTable(columns, line_numbers, notes)


def _read_csv(content: bytes, file: Path) -> tuple[list[str], list[list[str]], list[int], str]:
    """The header, the rows, the line of each, and how the file is written."""
    text = _decode(content, file)
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=lambda mark: len(next(csv.reader([header_line], delimiter=mark), [])))
    header: list[str] = []
    rows, line_numbers = [], []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            if not any(cell.strip() for cell in row) or (not header and [cell.lower() for cell in row] == EXCEL_ROW):
                continue
            if not header:
                header = row
            elif len(row) != len(header):
                what = f"line {reader.line_num} of {file} has {len(row)} cells, and the header has {len(header)}"
                raise data_error(KEY, what, f"the separator is a {SEPARATORS[separator]}; put cells that have one into quotes")
            else:
                rows.append(row)
                line_numbers.append(reader.line_num)
    except csv.Error as error:
        raise data_error(KEY, f"line {reader.line_num} of {file} is no row of a table: {error}", "look at its quotes") from None
    if not header:
        raise data_error(KEY, f"{file} is empty", "a header with path and label, and one row for each image")
    return header, rows, line_numbers, f"separated by {SEPARATORS[separator]}s" if len(header) > 1 else "one column"


def _decode(content: bytes, file: Path) -> str:
    """The text of a CSV file: UTF-8, or what its byte order mark says."""
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        hint = "save it as CSV, in UTF-8"
        raise data_error(KEY, f"{file} is neither a CSV file in UTF-8 nor a Parquet file: {error.reason}", hint) from None
    if "\0" in text:
        raise data_error(KEY, f"{file} is no text", "save it as CSV, in UTF-8, or as Parquet")
    return text


def _read_parquet(content: bytes, file: Path, wanted: Collection[str]) -> tuple[list[str], list[list[str]], str]:
    """The header, the rows, and how the file is written. Columns that are not wanted have empty cells: they may hold images."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        what = f"{file} is a Parquet file, for which the package pyarrow is needed"
        raise data_error(KEY, what, "pip install 'regulo[tables]', or save it as CSV") from None
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise data_error(KEY, f"{file} cannot be read as Parquet: {reason}", "write it again, or save it as CSV") from None
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name.strip().casefold() not in wanted:
            columns.append([""] * len(column))
            continue
        if pyarrow.types.is_nested(column.type):
            what = f"the column {name!r} of {file} holds values of the type {column.type}"
            raise data_error(KEY, what, "it needs one text or number for each image")
        columns.append([_text(value) for value in column.to_pylist()])
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)], "Parquet"


def _text(value: Any) -> str:
    """A cell of a Parquet file as CSV would have it: nothing is empty, and 3.0, which pandas makes of 3 beside nothing, is 3."""
    if value is None or value != value:
        return ""
    if isinstance(value, bytes):  # as other programs than pandas write text
        return value.decode("utf-8", "backslashreplace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
