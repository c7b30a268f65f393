"""Which runs a list shows, and in which order: `state=failed`, `test/acc>0.9`, `plan=*mixup*`, or any text."""

import math
import operator
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import get_args

from regulo.core.errors import InputError, Problem, nearest
from regulo.tracking.run_summary import RunState, RunSummary

TEXTS = ("name", "state", "reason", "plan", "study", "data", "model", "started")
NUMBERS = ("strength", "seed", "seconds", "seconds_left", "epochs", "max_epochs", "size")
SWITCHES = ("pinned", "can_resume")
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
FILTER = re.compile(rf"([\w./-]+)({'|'.join(COMPARISONS)})(.*)", re.DOTALL)

Filter = Callable[[RunSummary], bool]


def filter_runs(runs: Sequence[RunSummary], words: Sequence[str]) -> list[RunSummary]:
    """The runs that match all words, in the same order. Raises InputError with a problem for each wrong word."""
    keys, filters = list_keys(runs), []
    problems: list[Problem] = []
    for word in words:
        try:
            filters.append(parse_filter(word, keys))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return [run for run in runs if all(matches(run) for matches in filters)]


def sort_runs(runs: Sequence[RunSummary], key: str, choices: Collection[str]) -> list[RunSummary]:
    """The runs by a key: numbers from the largest, texts from A to Z, `-KEY`: the other way. Runs without a value are the last.

    Raises InputError if the key is none of the choices.
    """
    name = key.removeprefix("-")
    if name not in choices:
        raise InputError(Problem("--sort", f"there is no key {name!r}", nearest(name, choices)))
    present = [run for run in runs if _has_value(run, name)]
    is_descending = (name not in TEXTS or name == "started") != key.startswith("-")
    present.sort(key=lambda run: value_of(run, name), reverse=is_descending)  # type: ignore[arg-type, return-value]
    return [*present, *(run for run in runs if not _has_value(run, name))]


def list_keys(runs: Iterable[RunSummary]) -> list[str]:
    """The keys of filters: fields of the summary, and all numbers that the result.json of a run has."""
    scores = {key for run in runs for key in run.scores}
    return list(dict.fromkeys((*TEXTS, *NUMBERS, *SWITCHES, *sorted(scores))))


def value_of(run: RunSummary, key: str) -> str | float | bool | None:
    """The value of a key; None if the run has none. `started` is text, such as `2026-11-26 10:23`."""
    if key == "started":
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started))
    if key in (*TEXTS, *NUMBERS, *SWITCHES):
        value: str | float | bool | None = getattr(run, key)
        return value
    return run.scores.get(key)


def _has_value(run: RunSummary, key: str) -> bool:
    value = value_of(run, key)
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def parse_filter(word: str, keys: Sequence[str]) -> Filter:
    """The filter that a word of the command line describes. Raises InputError."""
    parts = FILTER.fullmatch(word)
    if not parts:
        return lambda run: any(word.casefold() in str(value_of(run, key)).casefold() for key in TEXTS)
    key, sign, text = parts.groups()
    if key not in keys:
        raise InputError(Problem(word, f"there is no key {key!r}", nearest(key, keys)))
    if key in TEXTS:
        return _parse_text_filter(word, key, sign, text)
    compare, number = COMPARISONS[sign], _parse_value(word, key, text)
    return lambda run: _has_value(run, key) and compare(value_of(run, key), number)  # type: ignore[arg-type]


def _parse_value(word: str, key: str, text: str) -> float:
    words = {"true": 1.0, "false": 0.0} if key in SWITCHES else {}
    try:
        return words[text] if words else float(text)
    except (KeyError, ValueError):
        hint = nearest(text, words) if words else f"such as {key}>0.5"
        raise InputError(Problem(word, f"{text!r} is no value of {key}", hint)) from None


def _parse_text_filter(word: str, key: str, sign: str, text: str) -> Filter:
    if key == "started" and sign in (">", "<", ">=", "<="):
        compare: Callable[[str, str], bool] = getattr(operator, {">": "gt", "<": "lt", ">=": "ge", "<=": "le"}[sign])
        return lambda run: compare(str(value_of(run, key)), text)
    if sign not in ("=", "!="):
        raise InputError(Problem(word, f"{key} is text, which has no order", f"{key}={text}, also with * for any letters"))
    if key == "state" and text not in get_args(RunState) and "*" not in text:
        raise InputError(Problem(word, f"there is no state {text!r}", nearest(text, get_args(RunState))))
    return lambda run: fnmatchcase(str(value_of(run, key)), text) == (sign == "=")
