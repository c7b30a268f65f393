"""The cells of a study: which techniques run together, as overrides. All are checked before any is run."""

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regulo.analysis.ablation.study import Study
from regulo.config import compose
from regulo.config.schema import Config
from regulo.core import registry
from regulo.core.errors import InputError, Problem, nearest
from regulo.regularizers.components.plan import find_providers

TAKEN = {"seed": "the study counts seeds: study.seeds=3", "run_dir": "a study's runs lie in its own folder"}
"""keys that a base must not set"""


@dataclass(frozen=True)
class StudyCell:
    """One condition: the base with some techniques, at some strength."""

    label: str
    techniques: tuple[str, ...]
    overrides: tuple[str, ...]
    strength: float = 1.0

    @property
    def slug(self) -> str:
        """The label as part of a folder's name."""
        return re.sub(r"[^\w.-]+", "_", self.label).strip("_")


def list_cells(study: Study) -> list[StudyCell]:
    """The cells by design; the first is the one with which the others are compared."""
    names = tuple(study.techniques)

    def cell(label: str, some: Sequence[str], strength: float | None = None) -> StudyCell:
        brought = _companions(study, some)
        overrides = [*_adding(study, some), *(f"+regularizer={name}" for name in brought)]
        if brought:
            label += f" (with {', '.join(brought)})"
        if strength is None:
            return StudyCell(label, tuple(some), tuple(overrides))
        return StudyCell(label, tuple(some), (*overrides, f"strength={strength:g}"), strength)

    if study.design == "leave_one_out":
        return [cell("all", names), *(cell(f"without {name}", [n for n in names if n != name]) for name in names)]
    if study.design == "strengths":
        return [cell(f"strength {s:g}", names, s) for s in sorted(study.strengths)]
    found = [cell("base", ()), *(cell(name, (name,)) for name in names)]
    if study.design == "pairs":
        found += [cell(f"{a} + {b}", (a, b)) for a, b in itertools.combinations(names, 2)]
    return found


def check_cells(study: Study) -> dict[StudyCell, Config]:
    """The cells and the run that each describes. Raises InputError with everything that is wrong, by cell."""
    problems = [*_wrong_names(study), *_wrong_keys(study)]
    try:
        compose.load_config(_base(study))  # what is wrong with the base is told once
    except InputError as refusal:
        problems += refusal.problems
    if problems:
        raise InputError(*problems)
    found: dict[StudyCell, Config] = {}
    for cell in list_cells(study):
        try:
            config = compose.load_config(cell.overrides)
        except InputError as refusal:
            problems += [dataclasses.replace(p, key=f"cell {cell.label!r}: {p.key}") for p in refusal.problems]
            continue
        for other, its in found.items():
            if config == its:
                problems.append(Problem(f"cell {cell.label!r}", f"is the very same run as {other.label!r}", "take one out"))
            elif cell.slug == other.slug:
                problems.append(Problem(f"cell {cell.label!r}", f"has the same folder as {other.label!r}", "rename one"))
        found[cell] = config
    if problems:
        raise InputError(*problems)
    return found


def dry_run_cells(configs_of: dict[StudyCell, Config]) -> None:
    """Build the model of every cell once, so that a technique that does not fit it is refused now. Raises InputError."""
    from regulo.evaluation.restore import without_input_checks
    from regulo.training.build import build_components

    problems = []
    for cell, config in configs_of.items():
        try:
            build_components(without_input_checks(config))
        except InputError as refusal:
            problems += [dataclasses.replace(p, key=f"cell {cell.label!r}: {p.key}") for p in refusal.problems]
    if problems:
        raise InputError(*problems)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _base(study: Study) -> list[str]:
    """The overrides that all cells share."""
    said = {_key(o) for o in study.base}
    usual = {"logger": "logger=csv", "callbacks": "callbacks=none"}
    return [*(o for key, o in usual.items() if key not in said), *study.base]


def _adding(study: Study, some: Sequence[str]) -> list[str]:
    """The base with some techniques."""
    return [*_base(study), *(o for name in some for o in (study.techniques[name] or [f"+regularizer={name}"]))]


def _companions(study: Study, some: Sequence[str]) -> list[str]:
    """What those that are named only by their label cannot do without, as far as it is not there."""
    needy = [n for n in some if not study.techniques[n] and registry.get_plugin("regularizer", n).requires]
    if not needy:
        return []
    tree, _ = compose.compose_tree(_adding(study, some))
    present = _words(tree.get("regularizer") or {})
    brought = []
    for name in needy:
        for need, companion in zip(
            registry.get_plugin("regularizer", name).requires, compose.required_techniques(name), strict=True
        ):
            if not present & {need, *find_providers(need)}:
                brought.append(companion)
                present |= _words({companion: {}})
    return brought


def _words(regularizers: dict[str, Any]) -> set[str]:
    """The names and roles of techniques."""
    known = [n for n in regularizers if n in registry.list_plugins("regularizer")]
    return {word for n in known for word in (n, *registry.get_plugin("regularizer", n).tags)}


def _wrong_names(study: Study) -> list[Problem]:
    """Labels without overrides that are no technique's name."""
    known = registry.list_plugins("regularizer")
    return [
        Problem(f"study.techniques.{label}", f"there is no technique {label!r}", nearest(label, known))
        for label, overrides in study.techniques.items()
        if not overrides and label not in known
    ]


def _wrong_keys(study: Study) -> list[Problem]:
    """What belongs to the study and not to its runs."""
    taken = TAKEN | ({"strength": "study.strengths=[0,1,2]"} if study.design == "strengths" else {})
    every = [*study.base, *(o for overrides in study.techniques.values() for o in overrides)]
    return [Problem(o, "belongs to the study", taken[_key(o)]) for o in every if _key(o) in taken]
