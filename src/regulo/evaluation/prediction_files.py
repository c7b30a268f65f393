"""The predictions of images as a file: CSV, JSON lines or Parquet, chosen by the ending of its name."""

import csv
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TextIO

from regulo.core.errors import InputError, Problem, nearest, one_line
from regulo.core.files import atomic_open, atomic_path, new_file_path, report_write_errors

Row = Sequence[str | float]
Write = Callable[[Sequence[Row]], None]
"""writes rows: the path, then a class and its probability, as often as there are columns"""


@contextmanager
def write_csv(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """Context with a function that writes rows as CSV. The file appears at the end."""
    with atomic_open(path) as file:
        yield csv_writer(file, columns)


@contextmanager
def write_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """Context with a function that writes rows as JSON objects, one a line. The file appears at the end."""
    with atomic_open(path) as file:
        yield lambda rows: file.writelines(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)


@contextmanager
def write_parquet(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """Context with a function that writes rows into a Parquet file. The file appears at the end."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(name, pa.float64() if name.startswith("probability") else pa.string()) for name in columns])

    def write(rows: Sequence[Row]) -> None:
        records = [dict(zip(columns, map(_escape_text, row), strict=True)) for row in rows]
        writer.write_table(pa.Table.from_pylist(records, schema))

    with atomic_path(path) as part, parquet.ParquetWriter(part, schema) as writer:
        yield write


FORMATS: dict[str, Callable[[Path, Sequence[str]], AbstractContextManager[Write]]] = {
    ".csv": write_csv,
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
}
"""for each ending, the context that writes such a file"""


def prediction_path(name: str) -> Path:
    """The path of a new file of predictions. Raises InputError for an unknown ending, and if it exists or cannot be made."""
    path = new_file_path(name, "--output")
    if path.suffix.lower() not in FORMATS:
        raise InputError(Problem("--output", f"{path.name} has an unknown ending", nearest(path.suffix, FORMATS)))
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise InputError(Problem("--output", "Parquet needs the package pyarrow", "pip install 'regulo[tables]'"))
    return path


@contextmanager
def write_predictions(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """Context with a function that writes rows into a file of `prediction_path`, which appears at the end. Raises RunError."""
    with report_write_errors(path), FORMATS[path.suffix.lower()](path, columns) as write:
        yield write


def csv_writer(file: TextIO, columns: Sequence[str]) -> Write:
    """Write the header of a CSV file; the function that is returned writes rows.

    No cell is one that a spreadsheet would run, and a terminal only shows control characters.
    """
    writer = csv.writer(file)
    writer.writerow(columns)
    show = one_line if file.isatty() else _escape_text

    def write(rows: Sequence[Row]) -> None:
        for path, *cells in rows:
            texts = [f"{cell:.4f}" if isinstance(cell, float) else for_spreadsheet(cell) for cell in cells]
            writer.writerow([show(path_for_spreadsheet(str(path))), *texts])

    return write


def for_spreadsheet(text: str) -> str:
    """A cell of a CSV file that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def path_for_spreadsheet(path: str) -> str:
    """A path that no spreadsheet takes for a formula, and that can still be opened."""
    return path if for_spreadsheet(path) == path else f"./{path}"


def _escape_text(cell: Any) -> Any:
    """A cell in UTF-8: bytes of file names that are none become escapes. Numbers stay."""
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
