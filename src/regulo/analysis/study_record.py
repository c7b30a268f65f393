"""study.json as it is read again: checked, for a stranger may have written it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from regulo.core.errors import InputError, Problem
from regulo.core.safe_io import read_json
from regulo.tracking.records import Number, Text, validate_record

Design = Literal["add_one", "leave_one_out", "pairs", "strengths"]
Seeds = Annotated[int, Field(ge=0, le=10_000)]


class _Run(TypedDict):
    seed: Seeds
    folder: Annotated[str, Field(pattern=r"^[\w.+-]{1,200}$")]
    status: Literal["done", "failed", "missing"]
    error: Text


class _Difference(TypedDict):
    n: Seeds
    mean: Number
    low: Number | None
    high: Number | None
    clear: bool


class _Cell(TypedDict, total=False):
    label: Text
    techniques: list[Text]
    strength: Number
    overrides: list[Text]
    runs: list[_Run]
    noisy_runs: list[_Run]
    values: dict[str, list[Number | None]]
    difference: dict[str, _Difference]


class _Interaction(TypedDict):
    label: Text
    difference: dict[str, _Difference]


class _Column(TypedDict):
    key: Text
    label: Text
    unit: Text
    better: Literal["high", "low", "none"]
    factor: Number
    digits: Annotated[int, Field(ge=0, le=12)]


class _Study(TypedDict):
    name: Text
    title: Text
    design: Design
    command: Text
    date: Text
    hardware: Text
    seconds: Number
    method: Text
    seeds: Seeds
    base: Text
    columns: list[_Column]
    cells: Annotated[list[_Cell], Field(min_length=1, max_length=10_000)]
    interactions: list[_Interaction]
    stale: list[Text]


ALWAYS = ("label", "techniques", "strength", "overrides", "runs", "noisy_runs", "values")
"""what every cell has; the base has no difference"""


def read(folder: Path) -> dict[str, Any]:
    """The content of a study's study.json. Raises InputError if there is none, or it is not what a study writes."""
    file = folder / "study.json"
    if not file.is_file():
        raise InputError(Problem("STUDY", f"{folder} has no study.json", "make ablate makes one"))
    told: dict[str, Any] = validate_record(_Study, read_json(file, "STUDY"), str(file), "STUDY")
    wrong = [f"cell {i} has no {key}" for i, cell in enumerate(told["cells"]) for key in ALWAYS if key not in cell]
    if not wrong:
        if told["base"] not in [cell["label"] for cell in told["cells"]]:
            wrong.append("its base is none of its cells")
        runs = [run for cell in told["cells"] for run in (*cell["runs"], *cell["noisy_runs"])]
        wrong += [f"{run['folder']!r} is not a run's folder" for run in runs if not run["folder"].strip(".")]
    if wrong:
        raise InputError(Problem("STUDY", f"{file} is not what Regulo writes: {wrong[0]}"))
    return told
