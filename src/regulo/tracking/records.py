"""Reads the files of a run folder and checks them: a stranger may have written them, or a kill may have cut them short.

A reader returns an empty value if its file is missing, and raises InputError if the file is not what Regulo writes.
"""

import csv
import io
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Required

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError, model_validator, with_config
from typing_extensions import TypedDict

from regulo.core.errors import InputError, Problem, one_line
from regulo.core.ranges import PixelLevel, Share
from regulo.core.registry import list_modules
from regulo.core.safe_io import read_json, read_text
from regulo.core.types import DatasetInfo
from regulo.tracking.run_dir import SPLITS, RunFolder
from regulo.tracking.upgrade import upgrade_error_type

Count = Annotated[int, Field(ge=0, le=10**15)]
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=True)]
"""NaN is allowed"""
Text = Annotated[str, Field(max_length=10_000)]
_SCORES: dict[str, Any] = {"acc": Share, "loss": Number, "ece": Number, "brier": Number}
"""the metrics that every finished run has"""


def _describe(kind: Any, description: str) -> Any:
    """The type of a key of result.json with its meaning."""
    return Annotated[kind, Field(description=description)]


_FINISHED_FIELDS: dict[str, Any] = {
    "weights": _describe(Literal["best", "last"], "which epoch's weights are the final ones"),
    "epochs": _describe(Count, "number of epochs that were trained"),
    "steps": _describe(Count, "number of optimizer steps"),
    "weights_epoch": _describe(Count, "the epoch of the final weights, from 1"),
    "params": _describe(Count, "number of parameters of the model"),
    "peak_memory_mb": _describe(Count, "peak memory of the GPU, or the largest resident set of the process, megabytes"),
    "fit_seconds": _describe(Number, "seconds of training, with validation"),
    "images_per_second": _describe(Number, "training images per second, without validation"),
    "epoch_seconds": _describe(Number, "seconds of the median epoch, without validation"),
    "gap/acc": _describe(Number, "accuracy: clean train − validation. It grows as a network overfits"),
    "gap/loss": _describe(Number, "NLL: validation − clean train, nats. It grows as a network overfits"),
    **{f"{split}/{key}": kind for split in SPLITS for key, kind in _SCORES.items()},
}
_OPTIONAL_SCORES = {f"{split}/{name}": Number for split in SPLITS for name in list_modules("regulo.core.metrics")}
"""all metrics of today: a run that is older than a metric does not have it"""
_STATUS_FIELDS: dict[str, Any] = {
    "status": Required[_describe(Literal["running", "done", "failed", "interrupted"], "whether it runs, and how it ended")],
    "seed": _describe(Count, "the seed of the run"),
    "error": _describe(Text, "why it failed or stopped"),
    "error_type": _describe(Text, "the class of that error in Python"),
    "best_epoch": _describe(Count, "the best epoch by `monitor`, from 1 (`epoch` in metrics.csv counts from 0, as in Lightning)"),
    "temperature": _describe(Number, "the temperature that `temperature_scaling` has fitted"),
    "interpolation": _describe(Share, "the share α of the trained weights in the final ones, with `wise_ft`"),
    "resumed_at": _describe(list[Count], "the optimizer steps at which the run was resumed"),
    "restarts": _describe(Count, "how often the processes of the run were started again"),
}


def _make_typed_dict(name: str, fields: dict[str, Any]) -> Any:
    """A TypedDict with keys, such as test/acc, that are no Python identifiers."""
    return TypedDict(name, fields, total=False)  # type: ignore[operator]


_RESULT_FIELDS = _OPTIONAL_SCORES | _STATUS_FIELDS | _FINISHED_FIELDS
Result: Any = with_config(ConfigDict(extra="allow"))(_make_typed_dict("Result", _RESULT_FIELDS))
PlanRow: Any = _make_typed_dict("PlanRow", dict.fromkeys(("order", "technique", "hook", "strength", "source"), Required[Text]))


class PlanRecord(BaseModel):
    """The content of plan.json."""

    regularizers: Annotated[list[PlanRow], Field(max_length=1000)] = []


Environment = Annotated[dict[Annotated[str, Field(max_length=100)], Text], Field(max_length=100)]
"""the content of environment.json"""

Name = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class DatasetRecord(BaseModel):
    """The data set of a run, as its checkpoint describes it."""

    classes: Annotated[list[Name] | tuple[Name, ...], Field(min_length=2, max_length=100_000)]
    channels: Annotated[int, Field(ge=1, le=4)]
    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    mean: list[float] | tuple[float, ...]
    std: list[Annotated[float, Field(gt=0)]] | tuple[Annotated[float, Field(gt=0)], ...]
    pixel_range: tuple[PixelLevel, PixelLevel] | None = None


def _check_relative_path(path: Any) -> Any:
    """A path below the root of the data. It may have bytes that are not UTF-8, which pydantic's `str` refuses."""
    if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise ValueError("it is not a path below the root of the data")
    return path


SplitName = Annotated[str, Field(pattern=r"^(train|val|test)$")]
AllSplits = Field(min_length=3)
RelativePath = Annotated[str, PlainValidator(_check_relative_path)]


class DataRecord(BaseModel):
    """The content of data.json: what a run is trained and evaluated on."""

    source: Text
    """the data set and its folder"""
    classes: Annotated[list[Name], Field(min_length=2, max_length=100_000)]
    images: Annotated[dict[SplitName, list[Count]], AllSplits]
    """number of images of each class"""
    digests: Annotated[dict[SplitName, Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]], AllSplits]
    """of the images and labels, or of the paths and sizes of their files"""
    notes: list[Text] = []
    """what was left out, converted or held out"""
    pixel_range: Annotated[list[PixelLevel], Field(min_length=2, max_length=2)] | None = None
    """the values that become 0 and 255, if files have more than 8 bits per channel"""
    resize: Text | None = None
    """the rule by which images of any size are resized in evaluation"""
    placement: Text | None = None
    """whether the images stay on the device or come from the loader, and why"""
    fold: Annotated[list[Count], Field(min_length=2, max_length=2)] | None = None
    """of a run of a cross-validation: the fold that is its test split, and the number of folds"""
    files: Annotated[dict[SplitName, dict[Name, list[RelativePath]]], AllSplits] | None = None
    """paths by class, relative to the root, of data that lie in files"""

    @model_validator(mode="after")
    def _check_parts(self) -> "DataRecord":
        if self.pixel_range and self.pixel_range[0] > self.pixel_range[1]:
            raise ValueError("the pixel_range is reversed")
        files = self.files or {}
        for split, classes in files.items():
            if list(classes) != self.classes or [len(paths) for paths in classes.values()] != self.images[split]:
                raise ValueError(f"the files of {split} do not fit to the classes and their numbers of images")
        paths = [path for classes in files.values() for same_class in classes.values() for path in same_class]
        if len(set(paths)) < len(paths):
            raise ValueError("a file is listed twice")
        return self

    def identity(self) -> list[Any]:
        """What is equal in two processes if they have the same images with the same scale."""
        return [self.classes, self.digests, self.pixel_range]


EVALUATIONS = "evaluations"
"""the folder, in that of a run, of the scores on other images than the run's"""


class EvaluationRecord(BaseModel):
    """The scores of a run on a labeled set of images that is not its own."""

    data: Text
    """where the images are"""
    images: dict[Name, Count]
    """number of images by class"""
    notes: list[Text]
    """what was left out"""
    weights_epoch: Count
    """the epoch of the weights, from 1"""
    scores: dict[Annotated[str, Field(pattern=r"^data/\w{1,100}$")], Number]


class ResumeRecord(BaseModel):
    """The position of a checkpoint in its run, from which the run goes on."""

    place: tuple[Count, Count]
    """the epoch, and the number of its batches that are done"""
    images: list[Count]
    """number of images of each split"""
    rows: Count
    """number of rows of metrics.csv"""
    global_step: Count
    """number of optimizer steps"""
    meter: Mapping[str, Any]
    rate: Mapping[str, Any]


def validate_record(kind: Any, content: Any, what: str, key: str = "RUN") -> Any:
    """Check that the content has the types and ranges of `kind`, and return it. Raises InputError that names the first error.

    `what` names the content in the message, and `key` is the key of the problem.
    """
    try:
        return TypeAdapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"]) or "it"
        reason = f"{location[:100]}: {first['msg']}, and it is {str(first['input'])[:60]!r}"
        raise InputError(Problem(key, f"{what} is not what Regulo writes: {reason}")) from None


def read_result(folder: RunFolder) -> dict[str, Any]:
    """result.json; empty if there is none. Raises InputError.

    The status is "crashed" if the file says "running" and no process trains the run.
    """
    content = _read_json_file(folder, "result.json")
    if not content:
        return {}
    file = str(folder.path / "result.json")
    result: dict[str, Any] = validate_record(Result, content, file)
    missing = [key for key in _FINISHED_FIELDS if key not in result] if result["status"] == "done" else []
    if missing:
        raise InputError(Problem("RUN", f"{file} says that the run is done, but has no {missing[0]}"))
    if result["status"] == "running" and not folder.is_locked():  # it was killed, or its machine went down
        result["status"] = "crashed"
    if "error_type" in result:
        result["error_type"] = upgrade_error_type(result["error_type"])
    return result


def read_or_empty(read: Callable[[RunFolder], dict[str, Any]], folder: RunFolder, announce: bool = False) -> dict[str, Any]:
    """What a reader of this module returns; empty where it would raise InputError, because the content can be made again.

    `announce`: print why, in one line.
    """
    try:
        return read(folder)
    except InputError as error:
        if announce:
            print(one_line(f"{error.problems[0].what}; going on without it"))
        return {}


def read_plan(folder: RunFolder) -> list[dict[str, str]]:
    """The rows of plan.json in order; empty if there is no such file. Raises InputError."""
    return _read_record(PlanRecord, folder, "plan.json").regularizers


def read_environment(folder: RunFolder) -> dict[str, str]:
    """environment.json; empty if there is none. Raises InputError."""
    return _read_record(Environment, folder, "environment.json")


def read_data_record(folder: RunFolder) -> DataRecord | None:
    """data.json; None if there is none: version 0.1 wrote none. Raises InputError."""
    is_missing = not (folder.path / "data.json").is_file()
    return None if is_missing else _read_record(DataRecord, folder, "data.json")


def read_measures(folder: RunFolder) -> dict[str, float]:
    """measures.json; empty if there is none. Raises InputError."""
    return _read_record(dict[str, Number], folder, "measures.json")


def read_evaluations(folder: RunFolder) -> list[EvaluationRecord]:
    """The records in evaluations/, by the names of their files. Raises InputError."""
    files = sorted((folder.path / EVALUATIONS).glob("*.json"))
    return [validate_record(EvaluationRecord, read_json(file), str(file)) for file in files]


def read_temperature(folder: RunFolder) -> float:
    """The temperature by which the final logits are divided; 1.0 if none was fitted. Raises InputError."""
    kind = dict[Literal["temperature"], Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    return _read_record(kind, folder, "calibration.json").get("temperature", 1.0)


@dataclass(frozen=True)
class Metrics:
    """metrics.csv by columns. Most rows have values in few columns, so a column is (numbers of its rows, their values)."""

    num_rows: int
    columns: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def rows(self, key: str) -> np.ndarray:
        """The numbers (n,) of the rows that have a value in this column, in increasing order."""
        return self.columns[key][0] if key in self.columns else np.zeros(0, int)

    def values(self, key: str) -> np.ndarray:
        """The values (n,) of a column, without those that are empty."""
        return self.columns[key][1] if key in self.columns else np.zeros(0)

    def epochs(self, key: str) -> np.ndarray:
        """The epoch (n,) of each value of a column; -1 if its row has none."""
        epoch_of_row = np.full(self.num_rows, -1)
        epoch_of_row[self.rows("epoch")] = self.values("epoch")
        return epoch_of_row[self.rows(key)]


def read_metrics(folder: RunFolder) -> Metrics:
    """The numbers of metrics.csv; none if there is no such file. Raises InputError.

    A last row that a kill has cut short is left out.
    """
    file = folder.path / "metrics.csv"
    return parse_metrics(read_text(file), str(file)) if file.is_file() else Metrics(0, {})


def parse_metrics(text: str, file: str) -> Metrics:
    """The numbers of the text of a metrics.csv. `file` names it in messages. Raises InputError."""
    try:
        reader = csv.reader(itertools.chain.from_iterable(_list_blocks(text)), strict=True)
        header, rows = next(reader, []), filter(None, reader)
        parts: list[dict[str, tuple[np.ndarray, np.ndarray]]] = []
        num_rows = 0
        while chunk := list(itertools.islice(rows, CHUNK)):
            if len(chunk[-1]) < len(header) and (following := next(rows, None)) is None:
                chunk.pop()
            elif len(chunk[-1]) < len(header):
                chunk.append(following or [])
            if chunk:
                parts.append(_parse_rows(header, chunk, num_rows, file))
                num_rows += len(chunk)
    except csv.Error as error:
        raise InputError(Problem("RUN", f"{file} cannot be read: {error}")) from error
    columns = {
        key: (np.concatenate([part[key][0] for part in parts]), np.concatenate([part[key][1] for part in parts]))
        for key in header
        if parts
    }
    return Metrics(num_rows, columns)


CHUNK = 5_000
"""rows that are parsed together: more would take more memory, fewer more time"""


def _list_blocks(text: str) -> Iterator[io.StringIO]:
    """The lines of a text, in blocks of about 64 kB, so that the text does not lie in memory a second time."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + 65_536) + 1 or len(text)
        yield io.StringIO(text[start:end], newline="\n")
        start = end


def _parse_rows(header: list[str], rows: list[list[str]], first: int, file: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each column, the numbers of the rows that have a value, counted from `first`, and the values. Raises InputError."""
    columns = {}
    try:
        for key, cells in dict(zip(header, zip(*rows, strict=True), strict=True)).items():
            present = np.fromiter(map(bool, cells), bool, len(cells))
            values = np.fromiter(map(float, filter(None, cells)), float)
            if (np.abs(values[np.isfinite(values)]) > LARGEST).any() or (key == "epoch" and not all(map(_is_epoch, set(cells)))):
                raise ValueError(key)
            columns[key] = (first + np.flatnonzero(present), values)
        if rows and "epoch" not in columns:
            raise ValueError("epoch")
    except ValueError:
        for number, row in enumerate(rows, first + 1):
            cells_by_key = dict(itertools.zip_longest(header, row)) if len(row) <= len(header) else {None: row}
            if error_message := check_metrics_row(cells_by_key):
                what = f"{file} is not what Regulo writes: row {number}: {error_message}"
                raise InputError(Problem("RUN", what)) from None
        raise
    return columns


LARGEST = 1e38
"""largest finite number that a run logs"""


def _is_epoch(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) < 10)


def check_metrics_row(row: Mapping[Any, Any]) -> str:
    """What is wrong with a row of metrics.csv; empty if it is right."""
    if None in row or None in row.values():
        return "the number of values is not the number of columns"
    if "epoch" not in row:
        return "there is no epoch"
    if not _is_epoch(row["epoch"]):
        return f"the epoch is {row['epoch'][:60]!r}"
    for key, value in row.items():
        try:
            too_large = bool(value) and math.isfinite(float(value)) and abs(float(value)) > LARGEST
        except ValueError:
            return f"{key[:60]} is {value[:60]!r}"
        if too_large:
            return f"{key[:60]} is {value[:60]}"
    return ""


def read_dataset_info(checkpoint: Mapping[str, Any], what: str) -> DatasetInfo:
    """The data set that a checkpoint describes. `what` names the checkpoint in messages. Raises InputError."""
    record = validate_record(DatasetRecord, dict(_get_section(checkpoint, what, "regulo", "facts")), what)
    if len(record.mean) != record.channels or len(record.std) != record.channels:
        raise InputError(Problem("RUN", f"{what} is not what Regulo writes: mean and std need {record.channels} values each"))
    classes, mean, std = tuple(record.classes), tuple(record.mean), tuple(record.std)
    return DatasetInfo(record.channels, record.height, record.width, classes, mean, std, record.pixel_range)


def read_resume_record(checkpoint: Mapping[str, Any], what: str) -> ResumeRecord:
    """The position of a checkpoint in its run. `what` names the checkpoint in messages. Raises InputError."""
    content = dict(_get_section(checkpoint, what, "regulo")) | {"global_step": checkpoint.get("global_step")}
    content |= {"place": tuple(content.get("place") or ()), "images": list(content.get("images") or ())}
    return validate_record(ResumeRecord, content, what)


def check_weights(checkpoint: dict[str, Any], what: str) -> dict[str, Any]:
    """Check that a checkpoint has its epoch, the planned epochs, and weights by name, and return it. Raises InputError."""
    validate_record(Count, checkpoint.get("epoch"), f"{what}: epoch")
    trainer = _get_section(checkpoint, what, "regulo", "config", "trainer")
    validate_record(Annotated[int, Field(ge=1)], trainer.get("max_epochs"), f"{what}: max_epochs")
    state = _get_section(checkpoint, what, "state_dict")
    invalid = [k for k, v in state.items() if not (isinstance(k, str) and hasattr(v, "shape"))]
    if invalid:
        raise InputError(Problem("RUN", f"{what} is not what Regulo writes: state_dict.{str(invalid[0])[:60]} is no tensor"))
    return checkpoint


def _get_section(content: Any, what: str, *path: str) -> Mapping[str, Any]:
    """The mapping under these keys, one inside the other. Raises InputError if there is none."""
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping):
        raise InputError(Problem("RUN", f"{what} is not a checkpoint of Regulo: it has no {'.'.join(path)}"))
    return content


def _read_record(kind: Any, folder: RunFolder, name: str) -> Any:
    """The content of a JSON file (empty if there is none), checked against `kind`. Raises InputError."""
    return validate_record(kind, _read_json_file(folder, name), str(folder.path / name))


def _read_json_file(folder: RunFolder, name: str) -> dict[str, Any]:
    file = folder.path / name
    return read_json(file) if file.is_file() else {}
