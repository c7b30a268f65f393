"""Nested dict → Config: every value is checked, and every problem is reported at once."""

import types
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from regulo.config.origins import SavedOrigins, ValueOrigins
from regulo.config.schema import MULTI, SECTIONS, SINGLE, Config, RunConfig
from regulo.core import registry
from regulo.core.errors import InputError, Problem, nearest, quote
from regulo.core.registry import StrictConfig
from regulo.core.schedule import RAMP, Ramp
from regulo.regularizers.components.plan import find_conflicts
from regulo.tracking import records
from regulo.tracking.environment import find_missing_extensions
from regulo.tracking.run_dir import CONFIG, RunFolder
from regulo.tracking.upgrade import renamed_key_hint, renamed_value_hint

Origins = ValueOrigins | SavedOrigins


def read_run_config(folder: RunFolder) -> Config:
    """The configuration of a run. Raises InputError with all problems."""
    return validate_run_config(folder, folder.read_config(), SavedOrigins(folder.path / CONFIG))


def validate_run_config(folder: RunFolder, tree: Mapping[str, Any], origins: Origins | None = None) -> Config:
    """Check the configuration of a run that exists. Raises InputError with all problems, also for extensions that are missing."""
    try:
        return validate_config(tree, origins)
    except InputError as error:
        environment = records.read_or_empty(records.read_environment, folder)
        raise InputError(*error.problems, *find_missing_extensions(environment)) from None


def validate_config(tree: Mapping[str, Any], origins: Origins | None = None) -> Config:
    """Check every value of a composed or saved tree. Raises InputError with all problems."""
    origins = origins or ValueOrigins([], tree)
    keys = [*RunConfig.model_fields, *SINGLE, *MULTI, *SECTIONS]
    problems = [
        Problem(key, "unknown key", nearest(key, keys), origins.describe(key)) for key in map(str, tree) if key not in keys
    ]
    results = {"run": build_section(RunConfig, {k: v for k, v in tree.items() if k in RunConfig.model_fields}, "", origins)}
    results |= {group: _build_single(group, tree.get(group), origins) for group in SINGLE}
    results |= {group: _build_multi(group, tree.get(group), origins) for group in MULTI}
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


def _build_single(group: str, node: Any, origins: Origins) -> tuple[Any, list[Problem]]:
    """The extension that `name` selects, or None and its problems."""
    names = registry.list_plugins(group)
    if not isinstance(node, Mapping):
        return None, [Problem(group, f"there is no {group} {quote(node)}", nearest("None", names))]
    name = node.get("name")
    if name not in names:
        return None, [Problem(f"{group}.name", f"there is no {group} {quote(name or node)}", nearest(str(name), names))]
    return build_section(registry.get_plugin(group, str(name)), {k: v for k, v in node.items() if k != "name"}, group, origins)


def _build_multi(group: str, node: Any, origins: Origins) -> tuple[dict[str, Any], list[Problem]]:
    """The extensions by name, and the problems of all of them."""
    node, names = _or_empty(node), registry.list_plugins(group)
    if not isinstance(node, Mapping):
        return {}, [Problem(group, f"{quote(node)} is not a mapping from names to settings", "", origins.describe(group))]
    parts: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, fields in node.items():
        key = f"{group}.{name}"
        if name in names:
            parts[name], part_problems = build_section(registry.get_plugin(group, str(name)), _or_empty(fields), key, origins)
            problems += part_problems
        else:
            what = f"there is no {group} {name!r}"
            problems.append(Problem(key, what, nearest(str(name), names), origins.describe(key)))
    return parts, problems


def build_section(cls: type[StrictConfig], fields: Any, prefix: str, origins: Origins) -> tuple[Any, list[Problem]]:
    """An instance of the class, or None and one problem for each wrong key."""
    try:
        return cls.model_validate(fields), []
    except ValidationError as error:
        problems: dict[str, Problem] = {}
        for e in error.errors():
            location, owner = _locate(cls, e["loc"])
            key = ".".join(filter(None, [prefix, *location]))
            if e["type"] == "extra_forbidden":
                what, hint = "unknown key", _nearest_key(key, owner)
            else:
                what = e["msg"].removeprefix("Value error, ").replace("Input", quote(e["input"]), 1)
                hint = renamed_value_hint(key, e["input"]) or _nearest_value(cls, location, e)
                if e["type"] == "string_type" and isinstance(e["input"], bool | int | float):
                    hint = origins.quote_hint(key, e["input"])
            # a union reports an error for each of its types; the first is enough
            problems.setdefault(key, Problem(key, what, hint, origins.describe(key)))
        return None, list(problems.values())


def _nearest_key(key: str, owner: type[Any]) -> str:
    """The hint for an unknown key: its new name if it is an old one, or else the nearest fields of its class."""
    hint = renamed_key_hint(key)
    return hint if hint.rpartition(".")[2] in owner.model_fields else nearest(key.rpartition(".")[2], owner.model_fields)


def _locate(cls: type[StrictConfig], loc: tuple[Any, ...]) -> tuple[list[str], type[Any]]:
    """The keys that lead to an error, and the class that owns the last one."""
    if RAMP in loc[1:2]:
        return [str(loc[0]), *map(str, loc[2:3])], Ramp
    return [str(part) for part in loc if part in cls.model_fields or part == loc[0]], cls


def _nearest_value(cls: type[StrictConfig], location: list[str], error: Any) -> str:
    """A hint with the nearest valid value of a bounded number or of a choice."""
    context = error.get("ctx") or {}
    if error["type"] in ("greater_than_equal", "less_than_equal"):
        return f"nearest: {context.get('ge', context.get('le'))}"
    if "choices" in context:
        return nearest(str(error["input"]), context["choices"])
    options = _options(cls.model_fields[location[0]].annotation) if location and location[0] in cls.model_fields else []
    return nearest(str(error["input"]), options) if options else ""


def _options(annotation: Any) -> list[str]:
    """The strings that a Literal allows, also inside a union."""
    from typing import Union, get_args, get_origin

    if get_origin(annotation) is Literal:
        return [str(a) for a in get_args(annotation)]
    if get_origin(annotation) in (Union, types.UnionType):
        return [o for a in get_args(annotation) for o in _options(a)]
    return []
