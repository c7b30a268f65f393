"""The definition of a study: a base run, the techniques to try on it, and the design by which they are combined."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from regulo.analysis.launchers.options import LaunchOptions, parse_value, take_launch_options
from regulo.analysis.study_record import Design
from regulo.config import origins, validate
from regulo.core import yaml_files
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.paths import expand_path
from regulo.core.ranges import Share
from regulo.core.registry import StrictConfig
from regulo.core.safe_io import read_yaml


class StudyConfig(StrictConfig):
    """The fields of configs/study/<name>.yaml."""

    title: str = ""
    """the question of the study, as the title of the table and the page"""
    base: list[str] = []
    """overrides of `regulo train` that all runs share; `logger=csv callbacks=none` is added unless they set these keys"""
    techniques: Annotated[dict[str, list[str]], Field(min_length=1)]
    """by label, the overrides that add each; without overrides, the technique of that name and the techniques it requires. A list
    of names works, too"""
    design: Design = "add_one"
    """add_one: the base, and the base with each; leave_one_out: all together, and all but each; pairs: the base, each, and each
    two; strengths: all together at several strengths"""
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    """runs of each cell, with seeds 0, 1, …; differences are paired by seed"""
    strengths: Annotated[list[Annotated[float, Field(ge=0, le=10)]], Field(min_length=2)] = [0.0, 0.5, 1.0, 2.0, 4.0]
    """of the design `strengths`; the others are compared with the lowest"""
    corruptions: bool = True
    """also measure the accuracy on corrupted test images"""
    label_noise: Annotated[Share, Field(gt=0)] | None = None
    """train every cell a second time with this share of the training labels wrong, for one more column"""
    budget: Annotated[float, Field(gt=0)] | None = None
    """minutes that one start of the study may take: no run starts that would not end in time, by the longest run before"""

    @field_validator("techniques", mode="before")
    @classmethod
    def _list_to_mapping(cls, value: Any) -> Any:
        return {name: [] for name in value} if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


@dataclass(frozen=True)
class StudyArgs:
    """The command line of `regulo ablate`."""

    name: str
    study: StudyConfig
    launch: LaunchOptions


def parse_study_args(arguments: Sequence[str]) -> StudyArgs:
    """Read the command line. Raises InputError with all problems of the study; its runs are checked later."""
    launch, words, problems = take_launch_options(arguments)
    name, fields, overrides = "quick", {}, []  # type: str, dict[str, Any], list[str]
    for word in words:
        key, equals, value = word.partition("=")
        if key == "study" and equals:
            name = value
        elif key.startswith("study.") and equals:
            parse_value(fields, key, value, problems)
        else:
            overrides.append(word)
    file = _study_file(name)
    study, field_problems = validate.build_section(
        StudyConfig, _read_study(file) | fields, "study", origins.ValueOrigins(arguments, {})
    )
    problems += field_problems
    if problems:
        raise InputError(*problems)
    study = study.model_copy(update={"base": [*study.base, *overrides]})
    if launch.launcher is not None and study.budget is not None:
        what = "minutes cannot be counted where a cluster's queue decides when a run starts"
        raise InputError(Problem("study.budget", what, "study.budget=null"))
    return StudyArgs(file.stem, study, launch)


def _study_file(name: str) -> Path:
    """The YAML file of a study, by the name of a shipped one or by its path. Raises InputError if there is none."""
    if name.endswith((".yaml", ".yml")):
        file = expand_path(name)
        if file.is_file() and re.fullmatch(r"[\w.+-]+", file.stem):
            return file
        raise InputError(
            Problem("study", f"there is no file {name} whose name could be a folder's", "study=path/to/my_study.yaml")
        )
    files = yaml_files.list_options("study")
    if name not in files:
        raise InputError(Problem("study", f"there is no study {name!r}", nearest(name, files)))
    return files[name]


def _read_study(file: Path) -> dict[str, Any]:
    """The mapping in the file. Raises InputError if it is none."""
    content = read_yaml(file, "study") or {}
    if not isinstance(content, dict):
        raise InputError(Problem("study", f"{file} is not a mapping from fields to values", "title, base, techniques, design, …"))
    return content
