"""The definition of a study: a base run, the techniques to try on it, and the design by which they are combined."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from regulo.analysis.study_record import Design
from regulo.config import origins, validate
from regulo.core import yaml_files
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.paths import expand_path
from regulo.core.ranges import Share
from regulo.core.registry import StrictConfig
from regulo.core.safe_io import parse_yaml, read_yaml


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
    at_once: int | None = None
    """runs at once; null: one for each GPU, or for each core without one"""
    launcher: str | None = None
    """a cluster as submitit knows it (`slurm`, or `local` to try it); null: this machine, without submitit"""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """what submitit requests from the cluster: `slurm_partition`, `timeout_min`, `cpus_per_task`, …"""


def parse_study_args(arguments: Sequence[str]) -> StudyArgs:
    """Read the command line. Raises InputError with all problems of the study; its runs are checked later."""
    words = _StudyWords(arguments)
    problems = words.problems
    at_once, launcher = words.options.get("at_once"), words.options.get("launcher")
    if at_once is not None and not re.fullmatch(r"[1-9]\d{0,3}", at_once):
        problems.append(Problem("at_once", f"{at_once!r} should be a number of runs", "at_once=2"))
    if words.parameters and launcher is None:
        what = "is a request to a cluster, and no launcher is named"
        problems.append(Problem(f"launcher.{next(iter(words.parameters))}", what, "launcher=slurm"))
    file = _study_file(words.options.get("study", "quick"))
    study, field_problems = validate.build_section(
        StudyConfig, _read_study(file) | words.fields, "study", origins.ValueOrigins(arguments, {})
    )
    problems += field_problems
    if problems:
        raise InputError(*problems)
    study = study.model_copy(update={"base": [*study.base, *words.overrides]})
    if launcher is not None and study.budget is not None:
        what = "minutes cannot be counted where a cluster's queue decides when a run starts"
        raise InputError(Problem("study.budget", what, "study.budget=null"))
    return StudyArgs(file.stem, study, int(at_once) if at_once else None, launcher, words.parameters)


class _StudyWords:
    """The words of the command line, sorted by what they belong to, with a problem for each that cannot be read."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.options: dict[str, str] = {}  # study, at_once, launcher
        self.fields: dict[str, Any] = {}  # study.<field>
        self.parameters: dict[str, Any] = {}  # launcher.<parameter>
        self.overrides: list[str] = []  # of all runs
        self.problems: list[Problem] = []
        for argument in arguments:
            key, equals, value = argument.partition("=")
            group, dot, name = key.partition(".")
            if key in ("study", "at_once", "launcher") and equals:
                self.options[key] = value
            elif group in ("study", "launcher") and dot and equals:
                self._parse(self.fields if group == "study" else self.parameters, key, name, value)
            else:
                self.overrides.append(argument)

    def _parse(self, target: dict[str, Any], key: str, name: str, value: str) -> None:
        try:
            target[name] = parse_yaml(value, lambda why: InputError(Problem("", why)))
        except InputError:
            hint = "a list is written [a,b], a mapping {a: [x,y]}"
            self.problems.append(Problem(key, f"{value!r} cannot be read", hint))


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
