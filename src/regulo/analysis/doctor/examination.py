"""Before training: what every rule says of a run, and of one that would be refused, why."""

import re
from collections.abc import Sequence

from regulo.analysis.doctor.base import SEVERITIES, Rule, RuleFinding, RunCase
from regulo.config import compose
from regulo.core.errors import InputError, Problem
from regulo.core.registry import classes_in, list_modules


def rules() -> list[Rule]:
    """All rules, by the names of their files."""
    package = "regulo.analysis.doctor.rules"
    return [rule() for name in list_modules(package) for rule in classes_in(f"{package}.{name}", Rule)]


def look(case: RunCase) -> list[RuleFinding]:
    """What the rules find: the gravest first, then what concerns the whole run, which others may follow from."""
    found = [f for rule in rules() for f in rule.check(case)]
    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), f.key.count("."), f.key))


def examine(overrides: Sequence[str], difference: float | None = None) -> list[RuleFinding]:
    """What is found in the run that these overrides describe; if it would be refused, its refusals."""
    case, problems = attempt(overrides, difference)
    return look(case) if case else [refusal(problem, overrides) for problem in problems]


def attempt(overrides: Sequence[str], difference: float | None = None) -> tuple[RunCase | None, tuple[Problem, ...]]:
    """The case, or why there is none."""
    try:
        return RunCase.of(compose.load_config(overrides), difference), ()
    except InputError as refused:
        return None, refused.problems


def refusal(problem: Problem, overrides: Sequence[str]) -> RuleFinding:
    """A refusal as a finding. Its hint is the fix, where it is an override with which the problem is gone."""
    why = "regulo train refuses it before anything is spent" + (f"; hint: {problem.hint}" if problem.hint else "")
    where = problem.where or "regulo train"
    fix = next((words for words in remedies(problem) if not remains(problem, [*overrides, *words])), ())
    return RuleFinding("error", problem.key, problem.what, why, where, fix)


WORD = re.compile(r"~[\w.]+|\+?[a-z_]\w*(?:\.\w+)*=\S+")


def remedies(problem: Problem) -> list[tuple[str, ...]]:
    """The overrides that a hint names: alternatives, each of one or more words."""
    if problem.hint.startswith("nearest: "):
        return [(f"{problem.key}={problem.hint.removeprefix('nearest: ')}",)]
    alternatives = (tuple(WORD.findall(part)) for part in re.split(r"[,;] | or ", problem.hint))
    return [words for words in alternatives if words]


def remains(problem: Problem, overrides: Sequence[str]) -> bool:
    """Whether a problem is there with these overrides, too, or another one with the same key."""
    return any(p.key == problem.key for p in attempt(overrides)[1])
