"""YAML files and overrides → nested dict → Config."""

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from regulo.config import config_files
from regulo.config.origins import ValueOrigins
from regulo.config.schema import MULTI, SECTIONS, SINGLE, Config, RunConfig
from regulo.config.validate import build_section, validate_config
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError, Problem, nearest, quote
from regulo.core.nested import texts
from regulo.core.paths import is_path_type
from regulo.regularizers.components.plan import find_providers
from regulo.tracking.upgrade import renamed_key_hint

QUOTED_STRING = re.compile(r"'(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\"")
"""a text in quotes, as Hydra reads it"""
MANY_RUNS = "regulo ablate makes many: study=quick"
"""the hint for whoever asks for several runs"""


def required_techniques(technique: str) -> list[str]:
    """One technique for each requirement of a technique, from the default plan where possible."""
    default = _default_techniques(yaml_files.config_dir())
    providers = [find_providers(need) for need in registry.get_plugin("regularizer", technique).requires]
    return [next((name for name in names if name in default), names[0]) for names in providers]


@functools.cache
def _default_techniques(folder: Path) -> frozenset[str]:
    """The names of the techniques in the default plan, which a process reads once from each folder of YAML files."""
    return frozenset(load_config([]).regularizer)


def load_config(arguments: Sequence[str]) -> Config:
    """The valid run that these command-line overrides describe. Raises InputError with all problems."""
    tree, problems = compose_tree(arguments)
    origins = ValueOrigins(arguments, tree)
    try:
        config = validate_config(tree, origins)
    except InputError as refusal:
        raise InputError(*problems, *(p for p in refusal.problems if p not in problems)) from None
    if problems:
        raise InputError(*problems)
    return config


def compose_tree(arguments: Sequence[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The tree of all values, and a problem for each override that could not be applied. Raises InputError without a tree."""
    overrides = ParsedOverrides(arguments)
    problems = overrides.problems
    try:
        files = config_files.read_files(overrides.choices, [file for _, file in overrides.additions])
        tree = compose_groups(overrides.choices)
    except InputError as refusal:
        raise InputError(*problems, *refusal.problems) from None
    problems += config_files.find_open_values(files, [override.key_or_group for override in overrides.values])
    for group, file in overrides.additions:
        tree[group] = OmegaConf.merge(tree[group], OmegaConf.load(file))
    for override in overrides.values:
        problems += _apply_override(tree, override)
    if resolver_calls := _find_resolver_calls(tree):
        raise InputError(*problems, *resolver_calls)
    try:
        plain: Any = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(*problems, Problem(str(error.full_key or "configs"), str(error.msg).splitlines()[0])) from None
    return plain, problems


class ParsedOverrides:
    """The overrides of a command line, by kind, and a problem for each that is invalid."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.choices: list[str] = []  # group=option, which Hydra applies
        self.additions: list[tuple[str, Path]] = []  # +group=option: the group, and the file to merge into it
        self.values: list[Any] = []  # key=value, +key=value, ~key
        self.problems: list[Problem] = []
        options = yaml_files.list_groups()
        for argument in arguments:
            override = _parse(argument)
            if override is None:
                hint = "write key=value, for example optim.lr=0.05"
                if argument in ("-m", "--multirun"):
                    hint = MANY_RUNS
                self.problems.append(Problem(argument.strip() or repr(argument), "cannot be read as an override", hint))
            elif override.is_sweep_override():
                hint = "a run takes one; a list is written [a,b]"
                hint += f"; {MANY_RUNS}"
                self.problems.append(Problem(argument, "is several values", hint))
            elif override.key_or_group in options and not override.is_delete():
                self._add_choice(override, options[override.key_or_group])
            else:
                self.values.append(override)

    def _add_choice(self, override: Any, options: list[str]) -> None:
        """Store group=option, group=[option,…] or +group=option, and a problem for each option that does not exist."""
        group, value = override.key_or_group, override.value()
        values = value if isinstance(value, list) else [] if value is None else [value]
        valid = [o for o in values if o in options]
        self.problems += [
            Problem(group, f"has no option {quote(o)}", nearest(str(o), options)) for o in values if o not in options
        ]
        if group in MULTI and override.is_add():
            self.additions += [(group, yaml_files.find_option(group, o)) for o in valid]
        elif group in MULTI:
            self.choices.append(f"{group}=[{','.join(valid or ['none'])}]")
        elif len(valid) > 1:
            self.problems.append(Problem(group, f"takes one option, not {len(valid)}"))
        elif value is None and group in (*SINGLE, *SECTIONS):
            self.problems.append(Problem(group, "cannot be left out", nearest("", options)))
        elif valid:
            self.choices.append(f"{group}={valid[0]}")


def _parse(argument: str) -> Any:
    """The override in an argument, parsed by Hydra; None if it is not an override. A path is taken as it is written.

    Only `null` and `true` (published weights) are no paths.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, text = argument.partition("=")
    try:
        if equals and text not in ("null", "true") and not QUOTED_STRING.fullmatch(text) and _is_path(key.lstrip("+")):
            return dataclasses.replace(OverridesParser.create().parse_override(f"{key}=path"), _value=text)
        return OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError, RecursionError):  # such as a number of 5,000 digits
        return None


def _is_path(key: str) -> bool:
    """Whether the values of a key are paths, in every extension that has it."""
    group, _, name = key.rpartition(".")
    if not group:
        classes: list[Any] = [RunConfig]
    elif group in SINGLE:
        classes = [registry.get_plugin(group, option) for option in registry.list_plugins(group)]
    else:
        return False
    annotations = [cls.model_fields[name].rebuild_annotation() for cls in classes if name in cls.model_fields]
    return bool(annotations) and all(map(is_path_type, annotations))


def override_config(config: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """The tree of a saved config with `key=value` overrides. Raises InputError with a problem for each other argument."""
    tree, problems, options = OmegaConf.create(dict(config)), [], yaml_files.list_groups()
    for argument in arguments:
        override = _parse(argument)
        if override is None or override.is_sweep_override() or override.is_delete() or override.key_or_group in options:
            problems.append(Problem(argument, "is no change of one value", "write key=value, for example logger.wandb=disabled"))
        elif hint := renamed_key_hint(override.key_or_group):
            problems.append(Problem(override.key_or_group, "unknown key", hint, "on the command line"))
        else:
            problems += _set(tree, override)
    if problems:
        raise InputError(*problems)
    plain: Any = OmegaConf.to_container(tree, resolve=False)  # someone else may have written it
    return plain


def compose_groups(choices: Sequence[str]) -> DictConfig:
    """The tree that Hydra composes from configs/train.yaml with these options of groups. Raises InputError."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import ConfigCompositionException, MissingConfigException

    first, *others = yaml_files.config_dirs()
    search_path = ",".join("'file://" + re.sub(r"(['\\])", r"\\\1", str(folder)) + "'" for folder in others)
    try:
        with initialize_config_dir(str(first), version_base="1.3"):
            tree = hydra_compose("train", overrides=[*choices, *([f"hydra.searchpath=[{search_path}]"] if others else [])])
    except MissingConfigException as error:
        missing = str(error.missing_cfg_file or "")
        group, _, option = missing.rpartition("/")
        raise InputError(
            Problem(group or missing, f"has no option {option!r}", nearest(option, yaml_files.list_groups().get(group, ())))
        ) from None
    except (ConfigCompositionException, OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
        raise InputError(Problem("configs", " ".join(str(error).split()))) from None
    OmegaConf.set_struct(tree, False)
    return tree


def _find_resolver_calls(tree: DictConfig) -> list[Problem]:
    """A problem for each text that calls a resolver of OmegaConf, such as `${oc.env:TOKEN}`.

    A configuration may come from someone else, or go to someone else: it must not read environment variables or files.
    References to other keys, such as `${optim.lr}`, are allowed.
    """
    plain: Any = OmegaConf.to_container(tree, resolve=False)
    what = "asks for what is not in the configuration"
    calls = [(key, text) for key, text in texts(plain) if ":" in text.partition("${")[2]]
    return [Problem(key, f"{text[:100]!r} {what}", "write the value") for key, text in calls]


def _apply_override(tree: DictConfig, override: Any) -> list[Problem]:
    """Apply key=value, +key=value or ~key to the tree. Returns the problems."""
    try:
        return _set(tree, override)
    except (OmegaConfBaseException, AttributeError, TypeError, ValueError):
        key = override.key_or_group
        hint = nearest(key.partition(".")[0], [*RunConfig.model_fields, *SINGLE, *MULTI, *SECTIONS])
        return [Problem(key, "leads nowhere", hint)]


def _set(tree: DictConfig, override: Any) -> list[Problem]:
    """Apply one key=value, +key=value or ~key. Returns the problems; raises an error of OmegaConf if the key leads nowhere."""
    key = override.key_or_group
    group, *rest = key.split(".")
    if override.is_delete():
        return _delete(tree, key)
    node = tree.get(group)
    if group in MULTI and rest and isinstance(node, DictConfig) and rest[0] not in node and not override.is_add():
        return _missing_extension(group, rest, list(map(str, node)), override.value())
    if group in MULTI and len(rest) == 1 and override.value() is None:
        return [Problem(key, "null is no setting", f"~{key} removes it")]
    OmegaConf.update(tree, key, override.value(), force_add=True)
    return []


def _delete(tree: DictConfig, key: str) -> list[Problem]:
    """Remove an extension from a list of them. Returns the problem if it does not exist, or if no run can do without it."""
    parent_key, _, name = key.rpartition(".")
    parent = OmegaConf.select(tree, parent_key) if parent_key else tree
    present = list(map(str, parent)) if isinstance(parent, DictConfig) else []
    if name not in present:
        return [Problem(f"~{key}", "does not exist, so it cannot be removed", renamed_key_hint(key) or nearest(name, present))]
    if key in (*SINGLE, *SECTIONS):
        return [Problem(f"~{key}", "cannot be left out", nearest("", yaml_files.list_groups()[key]))]
    if key not in MULTI and parent_key not in MULTI and name in _field_names(tree, parent_key):
        # its class would have another value than the YAML file
        return [Problem(f"~{key}", "cannot be removed, because every run has a value for it", f"{key}=… sets another one")]
    del parent[name]
    return []


def _field_names(tree: DictConfig, key: str) -> Collection[str]:
    """The fields of the section or extension that has this key; for an empty key, those of the run."""
    group, _, name = key.partition(".")
    if not key:
        return RunConfig.model_fields
    if group in SECTIONS:
        return SECTIONS[group].model_fields
    if group in SINGLE:
        name = str(OmegaConf.select(tree, f"{group}.name"))
    is_extension = group in (*SINGLE, *MULTI) and name in registry.list_plugins(group)
    return registry.get_plugin(group, name).model_fields if is_extension else ()


def _missing_extension(group: str, rest: list[str], present: list[str], value: Any) -> list[Problem]:
    """The problems of an override that sets a field of an extension that is not part of the run."""
    name, names = rest[0], registry.list_plugins(group)
    if name not in names:
        return [Problem(".".join([group, *rest]), f"there is no {group} {name!r}", nearest(name, names))]
    what = f"{name} is not part of this run, which has: {', '.join(present) or 'none'}"
    return [Problem(f"{group}.{name}", what, f"+{group}={name} adds it"), *_check_field(group, rest, value)]


def _check_field(group: str, rest: list[str], value: Any) -> list[Problem]:
    """The problems that the field would have if the technique were part of the run."""
    cls = registry.get_plugin(group, rest[0])
    if len(rest) < 2:
        return []
    _, problems = build_section(cls, {rest[1]: value}, f"{group}.{rest[0]}", ValueOrigins([], {}))
    return [p for p in problems if p.key.endswith(rest[1])]
