"""Nested dict → Config: every value is checked, and every problem is reported at once."""

import types
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from regulo.config.origins import ValueOrigins
from regulo.config.schema import MULTI, SECTIONS, SINGLE, Config, RunConfig
from regulo.core import registry
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.registry import StrictConfig
from regulo.core.schedule import RAMP, Ramp
from regulo.regularizers.components.plan import find_conflicts


def validate_config(tree: Mapping[str, Any], origins: "ValueOrigins | None" = None) -> Config:
    """Check every value of a composed or saved tree. Raises InputError with every problem found."""
    origins = origins or ValueOrigins([], tree)
    keys = [*RunConfig.model_fields, *SINGLE, *MULTI, *SECTIONS]
    unknown = [key for key in tree if key not in keys]
    problems = [Problem(str(key), "unknown key", nearest(str(key), keys), origins.describe(str(key))) for key in unknown]
    results = {"run": build_section(RunConfig, {k: v for k, v in tree.items() if k in RunConfig.model_fields}, "", origins)}
    results |= {group: _build_named(group, tree.get(group), origins) for group in SINGLE}
    results |= {group: _build_many(group, tree.get(group), origins) for group in MULTI}
    results |= {group: build_section(cls, _or_empty(tree.get(group)), group, origins) for group, cls in SECTIONS.items()}
    parts = {name: part for name, (part, _) in results.items()}
    problems += [p for _, part_problems in results.values() for p in part_problems]
    if not problems:
        problems = find_conflicts(list(parts["regularizer"].values()), parts["trainer"].run_conditions())
    if problems:
        raise InputError(*problems)
    return Config(**parts)


def _or_empty(node: Any) -> Any:
    return {} if node is None else node


def _build_named(group: str, node: Any, origins: ValueOrigins) -> tuple[Any, list[Problem]]:
    """The extension that `name` chooses, or None and what is wrong with it."""
    if not isinstance(node, Mapping):
        return None, [Problem(group, f"there is no {group} {node!r}", nearest("None", registry.list_plugins(group)))]
    name = node.get("name")
    if name not in registry.list_plugins(group):
        return None, [
            Problem(f"{group}.name", f"there is no {group} {name or node!r}", nearest(str(name), registry.list_plugins(group)))
        ]
    return build_section(registry.get_plugin(group, str(name)), {k: v for k, v in node.items() if k != "name"}, group, origins)


def _build_many(group: str, node: Any, origins: ValueOrigins) -> tuple[dict[str, Any], list[Problem]]:
    """The extensions by their names, and what is wrong with any of them."""
    node = _or_empty(node)
    if not isinstance(node, Mapping):
        return {}, [Problem(group, f"{node!r} is not a mapping from names to settings", "", origins.describe(group))]
    parts: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, fields in node.items():
        key = f"{group}.{name}"
        if name in registry.list_plugins(group):
            parts[name], part_problems = build_section(registry.get_plugin(group, str(name)), _or_empty(fields), key, origins)
            problems += part_problems
        else:
            what = f"there is no {group} {name!r}"
            problems.append(Problem(key, what, nearest(str(name), registry.list_plugins(group)), origins.describe(key)))
    return parts, problems


def build_section(cls: type[StrictConfig], fields: Any, prefix: str, origins: ValueOrigins) -> tuple[Any, list[Problem]]:
    """An instance, or None and what is wrong with the fields."""
    try:
        return cls.model_validate(fields), []
    except ValidationError as error:
        problems: dict[str, Problem] = {}
        for e in error.errors():
            location, inside = _location(cls, e["loc"])
            key = ".".join(filter(None, [prefix, *location]))
            if e["type"] == "extra_forbidden":
                what, hint = "unknown key", nearest(location[-1], inside.model_fields)
            else:
                what = e["msg"].removeprefix("Value error, ").replace("Input", repr(e["input"]), 1)
                hint = _nearest_value(cls, location, e)
            # of the several complaints of a union, the first will do
            problems.setdefault(key, Problem(key, what, hint, origins.describe(key)))
        return None, list(problems.values())


def _location(cls: type[StrictConfig], loc: tuple[Any, ...]) -> tuple[list[str], type[Any]]:
    """The keys that lead to an error, and the class whose field the last one is."""
    if RAMP in loc[1:2]:
        return [str(loc[0]), *map(str, loc[2:3])], Ramp
    return [str(part) for part in loc if part in cls.model_fields or part == loc[0]], cls


def _nearest_value(cls: type[StrictConfig], location: list[str], error: Any) -> str:
    """The nearest valid value of a bounded number or of a choice."""
    context = error.get("ctx") or {}
    if error["type"] in ("greater_than_equal", "less_than_equal"):
        return f"nearest: {context.get('ge', context.get('le'))}"
    options = _options(cls.model_fields[location[0]].annotation) if location and location[0] in cls.model_fields else []
    return nearest(str(error["input"]), options) if options else ""


def _options(annotation: Any) -> list[str]:
    """The strings that a Literal (inside a union, too) allows."""
    from typing import Union, get_args, get_origin

    if get_origin(annotation) is Literal:
        return [str(a) for a in get_args(annotation)]
    if get_origin(annotation) in (Union, types.UnionType):
        return [o for a in get_args(annotation) for o in _options(a)]
    return []
