"""Before training: what all rules find in a run, or why the run would be refused."""

import re
from collections.abc import Sequence

from regulo.analysis.doctor.base import SEVERITIES, Rule, RuleFinding, RunCase
from regulo.config import compose
from regulo.core.errors import InputError, Problem
from regulo.core.registry import classes_in, list_modules


def rules() -> list[Rule]:
    """All rules, in the order of their file names."""
    package = "regulo.analysis.doctor.rules"
    return [rule() for name in list_modules(package) for rule in classes_in(f"{package}.{name}", Rule)]


def run_rules(case: RunCase) -> list[RuleFinding]:
    """What all rules find. Order: severity, then keys of the whole run (few dots), which may cause the others, then the key."""
    findings = [f for rule in rules() for f in rule.check(case)]
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), f.key.count("."), f.key))


def examine(overrides: Sequence[str], difference: float | None = None) -> list[RuleFinding]:
    """The findings about the run that these overrides describe; if it would be refused, the reasons as errors."""
    case, problems = build_case(overrides, difference)
    return run_rules(case) if case else [refusal_finding(problem, overrides) for problem in problems]


def build_case(overrides: Sequence[str], difference: float | None = None) -> tuple[RunCase | None, tuple[Problem, ...]]:
    """The run to check, or None and the problems for which it would be refused."""
    try:
        return RunCase.of(compose.load_config(overrides), difference), ()
    except InputError as error:
        return None, error.problems


def refusal_finding(problem: Problem, overrides: Sequence[str]) -> RuleFinding:
    """A problem for which training refuses a run, as a finding. The overrides in its hint are the fix, if they solve it."""
    why = "regulo train refuses it before anything is spent" + (f"; hint: {problem.hint}" if problem.hint else "")
    reference = problem.where or "regulo train"
    alternatives = overrides_in_hint(problem)
    fix = next((fix for fix in alternatives if not problem_remains(problem, [*overrides, *fix])), ())
    return RuleFinding("error", problem.key, problem.what, why, reference, fix)


OVERRIDE = re.compile(r"~[\w.]+|\+?[a-z_]\w*(?:\.\w+)*=\S+")


def overrides_in_hint(problem: Problem) -> list[tuple[str, ...]]:
    """The alternative fixes that a hint names, each of one or more overrides."""
    if problem.hint.startswith("nearest: "):
        return [(f"{problem.key}={problem.hint.removeprefix('nearest: ')}",)]
    alternatives = (tuple(OVERRIDE.findall(part)) for part in re.split(r"[,;] | or ", problem.hint))
    return [fix for fix in alternatives if fix]


def problem_remains(problem: Problem, overrides: Sequence[str]) -> bool:
    """Whether these overrides still have this problem, or another one with the same key."""
    return any(p.key == problem.key for p in build_case(overrides)[1])
