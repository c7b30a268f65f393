"""What a run's folder tells, checked as it is read: a stranger may have written it, or a kill have cut it short."""

import csv
import io
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Required

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from regulo.core.errors import InputError, Problem
from regulo.core.ranges import Share
from regulo.core.safe_io import read_json, read_text
from regulo.core.types import DatasetInfo
from regulo.tracking.run_dir import SPLITS, RunFolder

Count = Annotated[int, Field(ge=0, le=10**15)]
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=True)]
"""NaN compares with nothing, and passes"""
Text = Annotated[str, Field(max_length=10_000)]
SCORES: dict[str, Any] = {"acc": Share, "loss": Number, "ece": Number, "brier": Number}

_DONE: dict[str, Any] = {
    "weights": Literal["best", "last"],
    "epochs": Count,
    "steps": Count,
    "weights_epoch": Count,
    "params": Count,
    "peak_memory_mb": Count,
    "fit_seconds": Number,
    "images_per_second": Number,
    "epoch_seconds": Number,
    "gap/acc": Number,
    "gap/loss": Number,
    **{f"{split}/{key}": kind for split in SPLITS for key, kind in SCORES.items()},
}
_OTHERS: dict[str, Any] = {
    "status": Required[Literal["running", "done", "failed", "interrupted"]],
    "seed": Count,
    "error": Text,
    "error_type": Text,
    "temperature": Number,
    "resumed_at": list[Count],
    "restarts": Count,
}


def _typed(name: str, fields: dict[str, Any]) -> Any:
    """A typed dictionary whose keys, such as test/acc, are no names of Python."""
    return TypedDict(name, fields, total=False)  # type: ignore[operator]


Result: Any = with_config(ConfigDict(extra="allow"))(_typed("Result", _OTHERS | _DONE))
PlanRow: Any = _typed("Row", dict.fromkeys(("order", "technique", "hook", "strength", "source"), Required[Text]))


class PlanRecord(BaseModel):
    """plan.json."""

    regularizers: Annotated[list[PlanRow], Field(max_length=1000)] = []


Environment = Annotated[dict[Annotated[str, Field(max_length=100)], Text], Field(max_length=100)]
"""environment.json"""

Name = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class DatasetRecord(BaseModel):
    """What a checkpoint says of the data, beside its weights."""

    classes: Annotated[list[Name] | tuple[Name, ...], Field(min_length=2, max_length=100_000)]
    channels: Annotated[int, Field(ge=1, le=4)]
    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    mean: list[float] | tuple[float, ...]
    std: list[Annotated[float, Field(gt=0)]] | tuple[Annotated[float, Field(gt=0)], ...]


class ResumeRecord(BaseModel):
    """Where a checkpoint lies in the run, from which it goes on."""

    place: tuple[Count, Count]
    """the epoch, and how many of its batches are done"""
    images: list[Count]
    """of each split"""
    rows: Count
    """of metrics.csv"""
    global_step: Count
    meter: Mapping[str, Any]
    rate: Mapping[str, Any]


def validate_record(kind: Any, content: Any, what: str, key: str = "RUN") -> Any:
    """The content, if it has the types and ranges of `kind`. Raises InputError with the first thing that has not."""
    try:
        return TypeAdapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        why = f"{where[:100]}: {first['msg']}, and it is {str(first['input'])[:60]!r}"
        raise InputError(Problem(key, f"{what} is not what Regulo writes: {why}")) from None


def read_result(folder: RunFolder) -> dict[str, Any]:
    """result.json; empty, if there is none. Its status is "crashed" if it says "running" and nobody trains. Raises InputError."""
    content = _json(folder, "result.json")
    if not content:
        return {}
    file = str(folder.path / "result.json")
    found: dict[str, Any] = validate_record(Result, content, file)
    missing = [key for key in _DONE if key not in found] if found["status"] == "done" else []
    if missing:
        raise InputError(Problem("RUN", f"{file} says that the run is done, and has no {missing[0]}"))
    if found["status"] == "running" and not folder.is_locked():  # it was killed, or its machine is gone
        found["status"] = "crashed"
    return found


def read_plan(folder: RunFolder) -> list[dict[str, str]]:
    """The techniques of plan.json, in order; none, if there is no such file. Raises InputError."""
    return validate_record(PlanRecord, _json(folder, "plan.json"), str(folder.path / "plan.json")).regularizers


def read_environment(folder: RunFolder) -> dict[str, str]:
    """environment.json; empty, if there is none. Raises InputError."""
    found: dict[str, str] = validate_record(Environment, _json(folder, "environment.json"), str(folder.path / "environment.json"))
    return found


def read_measures(folder: RunFolder) -> dict[str, float]:
    """measures.json; empty, if there is none. Raises InputError."""
    return validate_record(dict[str, Number], _json(folder, "measures.json"), str(folder.path / "measures.json"))


def read_temperature(folder: RunFolder) -> float:
    """The temperature by which the final logits are divided; 1 if none was fitted. Raises InputError."""
    kind = dict[Literal["temperature"], Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    return validate_record(kind, _json(folder, "calibration.json"), str(folder.path / "calibration.json")).get("temperature", 1.0)


def read_metrics(folder: RunFolder) -> list[dict[str, str]]:
    """The rows of metrics.csv, every value a number or empty; none, if there is no such file. Raises InputError.

    The last row may be cut short by a kill, and is then left out.
    """
    file = folder.path / "metrics.csv"
    if not file.is_file():
        return []
    try:
        rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True))
    except csv.Error as error:
        raise InputError(Problem("RUN", f"{file} cannot be read: {error}")) from error
    if rows and None in rows[-1].values():
        rows.pop()
    for number, row in enumerate(rows, 1):
        wrong = _wrong(row)
        if wrong:
            raise InputError(Problem("RUN", f"{file} is not what Regulo writes: row {number}: {wrong}"))
    return rows


def _wrong(row: Mapping[Any, Any]) -> str:
    """What is wrong with a row of metrics.csv; nothing, if nothing is."""
    if None in row or None in row.values():
        return "has not as many values as there are columns"
    if "epoch" not in row:
        return "has no epoch"
    if row["epoch"] and not (row["epoch"].isascii() and row["epoch"].isdigit() and len(row["epoch"]) < 10):
        return f"the epoch is {row['epoch'][:60]!r}"
    for key, value in row.items():
        try:
            too_large = bool(value) and math.isfinite(float(value)) and abs(float(value)) > 1e38
        except ValueError:
            return f"{key[:60]} is {value[:60]!r}"
        if too_large:
            return f"{key[:60]} is {value[:60]}"
    return ""


def read_dataset_info(kept: Mapping[str, Any], what: str) -> DatasetInfo:
    """What a checkpoint says of the data. Raises InputError."""
    told = validate_record(DatasetRecord, dict(_part(kept, what, "regulo", "facts")), what)
    if len(told.mean) != told.channels or len(told.std) != told.channels:
        raise InputError(Problem("RUN", f"{what} is not what Regulo writes: mean and std need {told.channels} values each"))
    return DatasetInfo(told.channels, told.height, told.width, tuple(told.classes), tuple(told.mean), tuple(told.std))


def read_resume_record(kept: Mapping[str, Any], what: str) -> ResumeRecord:
    """Where a checkpoint lies in the run. Raises InputError."""
    told = dict(_part(kept, what, "regulo")) | {"global_step": kept.get("global_step")}
    told |= {"place": tuple(told.get("place") or ()), "images": list(told.get("images") or ())}
    return validate_record(ResumeRecord, told, what)


def check_weights(kept: dict[str, Any], what: str) -> dict[str, Any]:
    """A checkpoint, if it has what is read of it beside the facts: weights by name, the epoch, the planned epochs."""
    validate_record(Count, kept.get("epoch"), f"{what}: epoch")
    trainer = _part(kept, what, "regulo", "config", "trainer")
    validate_record(Annotated[int, Field(ge=1)], trainer.get("max_epochs"), f"{what}: max_epochs")
    state = _part(kept, what, "state_dict")
    odd = [k for k, v in state.items() if not (isinstance(k, str) and hasattr(v, "shape"))]
    if odd:
        raise InputError(Problem("RUN", f"{what} is not what Regulo writes: state_dict.{str(odd[0])[:60]} is no tensor"))
    return kept


def _part(content: Any, what: str, *path: str) -> Mapping[str, Any]:
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping):
        raise InputError(Problem("RUN", f"{what} is not a checkpoint of Regulo: it has no {'.'.join(path)}"))
    return content


def _json(folder: RunFolder, name: str) -> dict[str, Any]:
    file = folder.path / name
    return read_json(file) if file.is_file() else {}
