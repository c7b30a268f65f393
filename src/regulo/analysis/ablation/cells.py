"""The cells of a study: which techniques run together, as overrides. All cells are checked before the first run starts."""

import dataclasses
import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from regulo.analysis.ablation.study import StudyConfig
from regulo.analysis.launchers.runs import override_key, with_defaults
from regulo.config import compose
from regulo.config.schema import Config
from regulo.core import registry
from regulo.core.errors import InputError, Problem, nearest
from regulo.regularizers.components.plan import find_providers

RESERVED = {"seed": "the study counts seeds: study.seeds=3", "run_dir": "a study's runs lie in its own folder"}
"""keys that the overrides of a study must not set, and the hint for each"""


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


def list_cells(study: StudyConfig) -> list[StudyCell]:
    """The cells by design; the first is the one with which the others are compared."""
    names = tuple(study.techniques)
    if study.design == "leave_one_out":
        without = [_make_cell(study, f"without {name}", [n for n in names if n != name]) for name in names]
        return [_make_cell(study, "all", names), *without]
    if study.design == "strengths":
        return [_make_cell(study, f"strength {s:g}", names, s) for s in sorted(study.strengths)]
    cells = [_make_cell(study, "base", ()), *(_make_cell(study, name, (name,)) for name in names)]
    if study.design == "pairs":
        cells += [_make_cell(study, f"{a} + {b}", (a, b)) for a, b in itertools.combinations(names, 2)]
    return cells


def check_cells(study: StudyConfig) -> dict[StudyCell, Config]:
    """The cells and the run that each describes. Raises InputError with all problems, by cell."""
    problems = [*_unknown_technique_problems(study), *_reserved_key_problems(study)]
    try:
        compose.load_config(with_defaults(study.base))  # so that a problem of the base is reported once, not for each cell
    except InputError as refusal:
        problems += refusal.problems
    if problems:
        raise InputError(*problems)
    configs: dict[StudyCell, Config] = {}
    for cell in list_cells(study):
        try:
            config = compose.load_config(cell.overrides)
        except InputError as refusal:
            problems += _problems_of_cell(cell, refusal)
            continue
        for other, other_config in configs.items():
            if config == other_config:
                problems.append(Problem(f"cell {cell.label!r}", f"is the very same run as {other.label!r}", "take one out"))
            elif cell.slug == other.slug:
                problems.append(Problem(f"cell {cell.label!r}", f"has the same folder as {other.label!r}", "rename one"))
        configs[cell] = config
    if problems:
        raise InputError(*problems)
    return configs


def dry_run_cells(configs: dict[StudyCell, Config]) -> None:
    """Build the model of every cell once, so that a technique that does not fit it is refused early. Raises InputError."""
    from regulo.evaluation.restore import without_input_checks
    from regulo.training.build import build_components

    problems = []
    for cell, config in configs.items():
        try:
            build_components(without_input_checks(config.take_input_of_weights()[0]))
        except InputError as refusal:
            problems += _problems_of_cell(cell, refusal)
    if problems:
        raise InputError(*problems)


def _problems_of_cell(cell: StudyCell, refusal: InputError) -> list[Problem]:
    """The problems of a refusal, with the cell in their keys."""
    return [dataclasses.replace(p, key=f"cell {cell.label!r}: {p.key}") for p in refusal.problems]


def _make_cell(study: StudyConfig, label: str, techniques: Sequence[str], strength: float | None = None) -> StudyCell:
    """The cell with these techniques and what they require; its label names what was added."""
    companions = _companions(study, techniques)
    overrides = [*_technique_overrides(study, techniques), *(f"+regularizer={name}" for name in companions)]
    if companions:
        label += f" (with {', '.join(companions)})"
    if strength is None:
        return StudyCell(label, tuple(techniques), tuple(overrides))
    return StudyCell(label, tuple(techniques), (*overrides, f"strength={strength:g}"), strength)


def _technique_overrides(study: StudyConfig, techniques: Sequence[str]) -> list[str]:
    """The overrides of the base and of these techniques."""
    technique_overrides = (o for name in techniques for o in (study.techniques[name] or [f"+regularizer={name}"]))
    return [*with_defaults(study.base), *technique_overrides]


def _companions(study: StudyConfig, techniques: Sequence[str]) -> list[str]:
    """Techniques that these require and that the cell does not have. Only techniques without overrides of their own get some."""
    dependent = [n for n in techniques if not study.techniques[n] and registry.get_plugin("regularizer", n).requires]
    if not dependent:
        return []
    tree, _ = compose.compose_tree(_technique_overrides(study, techniques))
    present = _names_and_tags(tree.get("regularizer") or {})
    companions = []
    for name in dependent:
        requirements = registry.get_plugin("regularizer", name).requires
        for requirement, companion in zip(requirements, compose.required_techniques(name), strict=True):
            if not present & {requirement, *find_providers(requirement)}:
                companions.append(companion)
                present |= _names_and_tags([companion])
    return companions


def _names_and_tags(techniques: Collection[str]) -> set[str]:
    """The names and tags of techniques; unknown names are left out."""
    plugins = registry.list_plugins("regularizer")
    names = [name for name in techniques if name in plugins]
    return {word for name in names for word in (name, *registry.get_plugin("regularizer", name).tags)}


def _unknown_technique_problems(study: StudyConfig) -> list[Problem]:
    """A problem for each label that has no overrides and is no technique's name."""
    names = registry.list_plugins("regularizer")
    return [
        Problem(f"study.techniques.{label}", f"there is no technique {label!r}", nearest(label, names))
        for label, overrides in study.techniques.items()
        if not overrides and label not in names
    ]


def _reserved_key_problems(study: StudyConfig) -> list[Problem]:
    """A problem for each override whose key belongs to the study and not to its runs."""
    reserved = RESERVED | ({"strength": "study.strengths=[0,1,2]"} if study.design == "strengths" else {})
    overrides = [*study.base, *(o for technique_overrides in study.techniques.values() for o in technique_overrides)]
    return [Problem(o, "belongs to the study", reserved[override_key(o)]) for o in overrides if override_key(o) in reserved]
