"""classes.csv of a run folder: precision, recall, F1 and number of images of each class, on the validation and the test split."""

import csv
import io
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor
from typing_extensions import TypedDict

from regulo.core.errors import InputError, Problem
from regulo.core.files import atomic_write
from regulo.core.metrics.components import by_class
from regulo.core.ranges import Share
from regulo.core.safe_io import read_text
from regulo.tracking.records import Count, Name
from regulo.tracking.run_dir import RunFolder

FILE = "classes.csv"
SPLITS = ("val", "test")
Score = Share | Literal[""]
"""empty where it is not defined: no precision without predictions of the class, no recall and no F1 without images"""
ClassScores = TypedDict(
    "ClassScores",
    {"split": Literal["val", "test"], "class": Name, "precision": Score, "recall": Score, "f1": Score, "support": Count},
)
"""a row: the scores of one class on one split; `support` is the number of its images"""
ClassScores.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]


def write_class_scores(folder: RunFolder, matrices: Mapping[str, Tensor], classes: tuple[str, ...]) -> None:
    """Write classes.csv from the confusion matrix (K, K) of each split."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ClassScores.__annotations__)
    for split in SPLITS:
        matrix = matrices[split].double()
        scores = [function(matrix).tolist() for function in (by_class.precision, by_class.recall, by_class.f1)]
        for name, support, *values in zip(classes, matrices[split].sum(1).tolist(), *scores, strict=True):
            writer.writerow([split, name, *("" if value != value else repr(value) for value in values), support])
    atomic_write(folder.path / FILE, text.getvalue())


def read_class_scores(folder: RunFolder) -> list[ClassScores]:
    """The rows of classes.csv; none if there is no such file: older runs have none. Raises InputError."""
    file = folder.path / FILE
    if not file.is_file():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(file)), strict=True))
        return TypeAdapter(Annotated[list[ClassScores], Field(max_length=200_000)]).validate_python(rows)
    except (csv.Error, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise InputError(Problem("RUN", f"{file} is not what Regulo writes: {reason}")) from error
