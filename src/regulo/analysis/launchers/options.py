"""Where many runs are started, and how many at once: the words of a command line that say so."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from regulo.core.errors import InputError, Problem
from regulo.core.safe_io import parse_yaml


@dataclass(frozen=True)
class LaunchOptions:
    """Where runs are started, and how many at once."""

    at_once: int | None = None
    """runs at once; null: one for each GPU, or for each core without one"""
    launcher: str | None = None
    """`ray`, or a cluster as submitit knows it (`slurm`, or `local` to try it); null: this machine, without either"""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """what submitit requests from the cluster: `slurm_partition`, `timeout_min`, `cpus_per_task`, …"""


def take_launch_options(words: Sequence[str]) -> tuple[LaunchOptions, list[str], list[Problem]]:
    """The options among the words, the other words, and a problem for each that cannot be read."""
    options: dict[str, str] = {}
    parameters: dict[str, Any] = {}
    rest: list[str] = []
    problems: list[Problem] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key in ("at_once", "launcher") and equals:
            options[key] = value
        elif key.startswith("launcher.") and equals:
            parse_value(parameters, key, value, problems)
        else:
            rest.append(word)
    at_once, launcher = options.get("at_once"), options.get("launcher")
    if at_once is not None and not re.fullmatch(r"[1-9]\d{0,3}", at_once):
        problems.append(Problem("at_once", f"{at_once!r} should be a number of runs", "at_once=2"))
        at_once = None
    if parameters and launcher is None:
        what = "is a request to a cluster, and no launcher is named"
        problems.append(Problem(f"launcher.{next(iter(parameters))}", what, "launcher=slurm"))
    return LaunchOptions(int(at_once) if at_once else None, launcher, parameters), rest, problems


def parse_value(target: dict[str, Any], key: str, text: str, problems: list[Problem]) -> None:
    """Store a value, written as YAML, under the last part of its key; or add a problem."""
    try:
        target[key.partition(".")[2]] = parse_yaml(text, lambda why: InputError(Problem("", why)))
    except InputError:
        problems.append(Problem(key, f"{text!r} cannot be read", "a list is written [a,b], a mapping {a: [x,y]}"))
