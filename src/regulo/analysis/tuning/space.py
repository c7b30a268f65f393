"""The plans that a search may try: which techniques are on, and the values of their fields, of the optimizer and of the run.

A plan is drawn technique by technique. One that must not run beside those that are on, or that lacks what it requires, is off.
The order is another one for each plan, so that no technique has priority over those that exclude it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regulo.config.overrides import format_value
from regulo.config.schema import Config, RunConfig
from regulo.core.schedule import Ramp
from regulo.core.search_space import Between, Choice, Domain, SearchSpace, Times
from regulo.regularizers.base import Regularizer
from regulo.regularizers.components.plan import find_conflicts, find_providers

Params = dict[str, Any]
"""the choices of a plan: `mixup` is whether the technique is on, `mixup.alpha` the value of a field; `optim.lr`; `strength`"""
NAMED_PRIOR = 0.5
"""how probable a technique is in a first draw if its prior is 0, but somebody names it"""
DIGITS = 3
"""significant digits of a number in a plan"""


@dataclass(frozen=True)
class TechniqueSpace:
    """What is searched of a technique."""

    technique: Regularizer
    prior: float | None
    """how probable it is that a first draw has it; None: every plan has it"""
    fields: Mapping[str, Domain] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanSpace:
    """All plans that the search may try."""

    techniques: Mapping[str, TechniqueSpace]
    values: Mapping[str, Domain]
    """of keys that belong to no technique, such as `optim.lr`"""
    fixed: Mapping[str, Regularizer]
    """techniques that every plan has, as they are"""
    run_values: Mapping[str, Any]
    """what the run that is tuned has for the keys of `values`"""
    base: Mapping[str, Regularizer]
    """the techniques of the run that is tuned, as it is written"""
    run_conditions: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """techniques that are left out, with the reasons"""

    def switches(self) -> list[str]:
        """The techniques that may be on or off."""
        return [name for name, space in self.techniques.items() if space.prior is not None]

    def domains(self) -> dict[str, Domain]:
        """The values of each parameter by its name; those of a technique count if it is on."""
        switch = {name: Choice((False, True)) for name in self.switches()}
        fields = {f"{name}.{key}": domain for name, space in self.techniques.items() for key, domain in space.fields.items()}
        return {**switch, **fields, **self.values}

    def draw(self, suggest: Callable[[str, Domain], Any], order: int) -> Params:
        """A plan that breaks no rule. `suggest` returns the value of a parameter; `order`: a seed that shuffles techniques."""
        params: Params = {}
        present = [*self.fixed.values(), *(s.technique for s in self.techniques.values() if s.prior is None)]
        switches = self.switches()
        np.random.default_rng(order).shuffle(switches)
        switches.sort(key=lambda name: bool(self.techniques[name].technique.requires))  # after what they may require
        for name in switches:
            technique = self.techniques[name].technique
            if not find_conflicts([*present, technique], self.run_conditions):
                params[name] = bool(suggest(name, Choice((False, True))))
                present += [technique] * params[name]
        names = {technique.name for technique in present}
        for name, space in self.techniques.items():
            for key, domain in space.fields.items() if name in names else ():
                params[f"{name}.{key}"] = _round(suggest(f"{name}.{key}", domain), getattr(space.technique, key))
        return params | {key: _round(suggest(key, domain), self.run_values[key]) for key, domain in self.values.items()}

    def draw_from_prior(self, rng: np.random.Generator, order: int) -> Params:
        """A plan as practice would have it: techniques with the probability of their priors, fields evenly over their ranges."""

        def suggest(name: str, domain: Domain) -> Any:
            space = self.techniques.get(name)
            return bool(rng.random() < (space.prior or 0)) if space else domain.at(rng.random())

        return self.draw(suggest, order)

    def params_of_base(self) -> Params:
        """The run that is tuned, as a plan of this space."""
        params: Params = {name: name in self.base for name in self.switches()}
        for name, space in self.techniques.items():
            params |= {f"{name}.{key}": getattr(self.base[name], key) for key in space.fields if name in self.base}
        return params | dict(self.run_values)

    def techniques_of(self, params: Mapping[str, Any]) -> list[str]:
        """The names of the techniques in a plan, sorted."""
        return sorted([*self.fixed, *(name for name, space in self.techniques.items() if params.get(name, space.prior is None))])

    def overrides_of(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides that make a plan from the run that is tuned."""
        names = self.techniques_of(params)
        words = [f"+regularizer={name}" for name in names if name not in self.base]
        words += [f"~regularizer.{name}" for name in self.base if name not in names]
        for key, value in params.items():
            technique, _, field_name = key.partition(".")
            if technique in self.techniques and field_name:
                if technique not in self.base or getattr(self.base[technique], field_name) != value:
                    words.append(f"regularizer.{key}={format_value(value)}")
            elif key in self.values and value != self.run_values[key]:
                words.append(f"{key}={format_value(value)}")
        return words


def build_space(
    config: Config,
    candidates: Mapping[str, Regularizer],
    refused: Mapping[str, str],
    search: Sequence[str] | None,
    fix: Sequence[str],
) -> PlanSpace:
    """The space of a run. candidates: the techniques that suit it, with the values of its plan or of their files.

    search: names of techniques, fields and keys; None: all that practice finds worth it. fix: names that stay as they are.
    """
    base = config.regularizer

    def is_searched(name: str, prior: float) -> bool:
        return name not in fix and (prior > 0 if search is None else name in search)

    switched = {name for name, technique in candidates.items() if is_searched(name, type(technique).search_space.prior)}
    techniques: dict[str, TechniqueSpace] = {}
    for name, technique in candidates.items():
        space: SearchSpace = type(technique).search_space
        switch = name in switched and not _is_required(name, base, switched)
        fields = {
            key: resolved
            for key, domain in space.fields.items()
            if f"{name}.{key}" not in fix and (name in switched or (search is not None and f"{name}.{key}" in search))
            if (resolved := resolve_domain(domain, getattr(technique, key)))
        }
        if switch or (fields and name in base):
            techniques[name] = TechniqueSpace(technique, space.prior or NAMED_PRIOR if switch else None, fields)
    values: dict[str, Domain] = {}
    for owner, prefix in ((RunConfig, ""), (type(config.optim), "optim.")):
        for key, domain in owner.search_space.fields.items():
            resolved = resolve_domain(domain, _value_of(config, prefix + key))
            if resolved and is_searched(prefix + key, 1.0):
                values[prefix + key] = resolved
    fixed = {name: technique for name, technique in base.items() if name not in techniques}
    conditions = tuple(config.trainer.run_conditions())
    refusals = dict(refused)
    for name in [name for name, space in techniques.items() if space.prior is not None and name not in base]:
        technique = techniques[name].technique
        others = {n: s.technique for n, s in techniques.items() if n != name}
        always = [*fixed.values(), *(s.technique for s in techniques.values() if s.prior is None)]
        problems = find_conflicts([*always, technique], conditions)
        if problems and not (technique.requires and _can_be_met(technique, others)):
            refusals[name] = problems[0].what
            del techniques[name]
    run_values = {key: _value_of(config, key) for key in values}
    return PlanSpace(techniques, values, fixed, run_values, dict(base), conditions, refusals)


def resolve_domain(domain: Any, value: Any) -> Domain | None:
    """The values that are searched for a field that has this value; None if it is a ramp, or has none."""
    if isinstance(value, Ramp) or value is None or (isinstance(domain, Between) and domain.log and value <= 0):
        return None
    if isinstance(domain, Times):
        if value <= 0:
            return None
        domain = domain.around(value)
        domain = Between(_round(domain.low, None), _round(domain.high, None), log=True)  # so that rounded numbers lie inside
    return domain.include(value)


def _is_required(name: str, base: Mapping[str, Regularizer], switched: Collection[str]) -> bool:
    """Whether a technique that every plan has needs this one, and no other technique of every plan can take its place."""
    staying = {n: r for n, r in base.items() if n not in switched}
    for need in (need for technique in staying.values() for need in technique.requires):
        providers = set(find_providers(need)) & set(base)
        if name in providers and not providers & (staying.keys() - {name}):
            return True
    return False


def _can_be_met(technique: Regularizer, others: Mapping[str, Regularizer]) -> bool:
    """Whether what a technique requires is among others."""
    return all(set(find_providers(need)) & set(others) for need in technique.requires)


def _value_of(config: Config, key: str) -> Any:
    """The value of `optim.lr` or `strength` in a run."""
    group, _, name = key.rpartition(".")
    return getattr(config.optim if group else config.run, name)


def _round(value: Any, keep: Any) -> Any:
    """A number with few digits, as a person would write it, unless it is one to keep as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) and value != keep else value
