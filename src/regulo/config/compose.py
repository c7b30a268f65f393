"""YAML files and overrides → nested dict → Config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from regulo.config.origins import ValueOrigins
from regulo.config.schema import MULTI, SECTIONS, SINGLE, Config, RunConfig
from regulo.config.validate import build_section, validate_config
from regulo.core import registry, yaml_files
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.nested import texts
from regulo.regularizers.components.plan import find_providers

MANY_RUNS = "regulo ablate makes many: study=quick"


def required_techniques(technique: str) -> list[str]:
    """Techniques that supply what one needs: of several, the one that is in the default plan."""
    usual = load_config([]).regularizer
    choices = [find_providers(need) for need in registry.get_plugin("regularizer", technique).requires]
    return [next((n for n in names if n in usual), names[0]) for names in choices]


def load_config(arguments: Sequence[str]) -> Config:
    """The valid run that these command-line overrides describe. Raises InputError with every problem found."""
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
    """The tree of all values, and the overrides that could not be followed (which are left out of it)."""
    overrides = ParsedOverrides(arguments)
    problems = overrides.problems
    try:
        tree = compose_groups(overrides.choices)
    except InputError as refusal:
        raise InputError(*problems, *refusal.problems) from None
    for group, file in overrides.additions:
        tree[group] = OmegaConf.merge(tree[group], OmegaConf.load(file))
    for override in overrides.values:
        problems += _set_or_refuse(tree, override)
    if asking := _find_resolver_calls(tree):
        raise InputError(*problems, *asking)
    try:
        plain: Any = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(*problems, Problem(str(error.full_key or "configs"), str(error.msg).splitlines()[0])) from None
    return plain, problems


class ParsedOverrides:
    """The overrides of a command line, by what has to be done with them; a problem for each that cannot be followed."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.choices: list[str] = []  # group=option: for Hydra
        self.additions: list[tuple[str, Path]] = []  # +group=option: the group and the file that is merged into it
        self.values: list[Any] = []  # key=value, +key=value, ~key
        self.problems: list[Problem] = []
        options = yaml_files.list_groups()
        for argument in arguments:
            override = _parse(argument)
            if override is None:
                hint = MANY_RUNS if argument in ("-m", "--multirun") else "write key=value, for example optim.lr=0.05"
                self.problems.append(Problem(argument.strip() or repr(argument), "cannot be read as an override", hint))
            elif override.is_sweep_override():
                hint = f"a run takes one, and {MANY_RUNS}; a list is written [a,b]"
                self.problems.append(Problem(argument, "is several values", hint))
            elif override.key_or_group in options and not override.is_delete():
                self._choose(override, options[override.key_or_group])
            else:
                self.values.append(override)

    def _choose(self, override: Any, options: list[str]) -> None:
        """Follow group=option, group=[option,…] or +group=option, as far as there are such options."""
        group, value = override.key_or_group, override.value()
        requested = value if isinstance(value, list) else [] if value is None else [value]
        valid = [o for o in requested if o in options]
        self.problems += [Problem(group, f"has no option {o!r}", nearest(str(o), options)) for o in requested if o not in options]
        if group in MULTI and override.is_add():
            self.additions += [(group, yaml_files.config_dir() / group / f"{o}.yaml") for o in valid]
        elif group in MULTI:
            self.choices.append(f"{group}=[{','.join(valid or ['none'])}]")
        elif len(valid) > 1:
            self.problems.append(Problem(group, f"takes one option, not {len(valid)}"))
        elif value is None and group in (*SINGLE, *SECTIONS):
            self.problems.append(Problem(group, "cannot be left out", nearest("", options)))
        elif valid:
            self.choices.append(f"{group}={valid[0]}")


def _parse(argument: str) -> Any:
    """The override that an argument writes, as Hydra reads it; None, if it is no override."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError, RecursionError):  # such as a number of 5,000 digits
        return None


def override_saved(saved: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """A saved tree with `key=value` set on top. Raises InputError with every argument that is something else."""
    tree, problems, options = OmegaConf.create(dict(saved)), [], yaml_files.list_groups()
    for argument in arguments:
        override = _parse(argument)
        if override is None or override.is_sweep_override() or override.is_delete() or override.key_or_group in options:
            problems.append(Problem(argument, "is no change of one value", "write key=value, for example logger.wandb=disabled"))
        else:
            problems += _set(tree, override)
    if problems:
        raise InputError(*problems)
    plain: Any = OmegaConf.to_container(tree, resolve=False)  # it may be a stranger's
    return plain


def compose_groups(choices: Sequence[str]) -> DictConfig:
    """The tree of configs/train.yaml with these options of groups, as Hydra composes it. Raises InputError."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import ConfigCompositionException, MissingConfigException

    try:
        with initialize_config_dir(str(yaml_files.config_dir()), version_base="1.3"):
            tree = hydra_compose("train", overrides=list(choices))
    except MissingConfigException as error:
        missing = str(error.missing_cfg_file or "")
        group, _, option = missing.rpartition("/")
        raise InputError(
            Problem(group or missing, f"has no option {option!r}", nearest(option, yaml_files.list_groups().get(group, ())))
        ) from None
    except (ConfigCompositionException, OmegaConfBaseException, YAMLError) as error:
        raise InputError(Problem("configs", " ".join(str(error).split()))) from None
    OmegaConf.set_struct(tree, False)
    return tree


def _find_resolver_calls(tree: DictConfig) -> list[Problem]:
    """The texts that call one of OmegaConf's resolvers, as `${oc.env:TOKEN}` does: a configuration that somebody sent, or
    one that will be sent, must not read environment variables or files. References to other keys, `${optim.lr}`, are fine.
    """
    plain: Any = OmegaConf.to_container(tree, resolve=False)
    what = "asks for what is not in the configuration"
    asking = [(key, text) for key, text in texts(plain) if ":" in text.partition("${")[2]]
    return [Problem(key, f"{text[:100]!r} {what}", "write the value") for key, text in asking]


def _set_or_refuse(tree: DictConfig, override: Any) -> list[Problem]:
    """Follow an override of a value, wherever its key leads."""
    try:
        return _set(tree, override)
    except (OmegaConfBaseException, AttributeError, TypeError, ValueError):
        key = override.key_or_group
        near = nearest(key.partition(".")[0], [*RunConfig.model_fields, *SINGLE, *MULTI, *SECTIONS])
        return [Problem(key, "leads nowhere", near)]


def _set(tree: DictConfig, override: Any) -> list[Problem]:
    """Follow one key=value, +key=value or ~key. Raises what OmegaConf does if the key leads nowhere."""
    key = override.key_or_group
    group, *rest = key.split(".")
    if override.is_delete():
        return _delete(tree, key)
    node = tree.get(group)
    if group in MULTI and rest and isinstance(node, DictConfig) and rest[0] not in node and not override.is_add():
        return _absent(group, rest, list(map(str, node)), override.value())
    OmegaConf.update(tree, key, override.value(), force_add=True)
    return []


def _delete(tree: DictConfig, key: str) -> list[Problem]:
    """Take a key away."""
    parent_key, _, name = key.rpartition(".")
    parent = OmegaConf.select(tree, parent_key) if parent_key else tree
    if isinstance(parent, DictConfig) and name in parent:
        del parent[name]
        return []
    present = list(map(str, parent)) if isinstance(parent, DictConfig) else []
    return [Problem(f"~{key}", "is not there to be taken away", nearest(name, present))]


def _absent(group: str, rest: list[str], present: list[str], value: Any) -> list[Problem]:
    """What is wrong with setting a field of an extension that the run does not have."""
    name = rest[0]
    if name not in registry.list_plugins(group):
        key = ".".join([group, *rest])
        return [Problem(key, f"there is no {group} {name!r}", nearest(name, registry.list_plugins(group)))]
    what = f"{name} is not part of this run, which has: {', '.join(present) or 'none'}"
    return [Problem(f"{group}.{name}", what, f"+{group}={name} adds it"), *_check_field(group, rest, value)]


def _check_field(group: str, rest: list[str], value: Any) -> list[Problem]:
    """What would be wrong with the field if the technique were part of the run."""
    cls = registry.get_plugin(group, rest[0])
    if len(rest) < 2:
        return []
    _, problems = build_section(cls, {rest[1]: value}, f"{group}.{rest[0]}", ValueOrigins([], {}))
    return [p for p in problems if p.key.endswith(rest[1])]
