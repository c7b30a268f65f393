"""compose → validate → Config. Every problem is found before anything heavy is imported, and all are reported at once.

Hydra composes the files of the chosen options. Values are set here and not by Hydra, which stops at the first wrong key and does
not know the keys of an extension that was just added.
"""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError
from yaml import YAMLError

from regulo import spec
from regulo.callbacks.base import Observer
from regulo.core import config_dir
from regulo.core.nested import texts
from regulo.data.base import DataSet
from regulo.errors import Problem, Refused, nearest
from regulo.home import Place
from regulo.logs import LoggerSpec
from regulo.models.base import Model
from regulo.optim.base import Optimizer
from regulo.plan import conflicts, suppliers
from regulo.ramps import RAMP, Ramp
from regulo.regularizers.base import Goal, Regularizer
from regulo.spec import Spec, Strict
from regulo.trainer import TrainerSpec

NAMED = ("data", "model", "optim")  # one extension each, chosen by `name`
MANY = ("regularizer", "callbacks")  # any number of extensions, by key
MANY_RUNS = "regulo ablate makes many: study=quick"
FIXED: dict[str, type[Strict]] = {"trainer": TrainerSpec, "logger": LoggerSpec}


class Run(Strict):
    """What belongs to the run as a whole."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """draws everything: initial weights, order of images, augmentation, mixing, dropout"""
    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w.+-]+$")] = "run"
    """part of the run folder's name"""
    run_dir: Place | None = None
    """the run's folder, which must be empty or absent; null: runs/<date>-<time>-<name>"""
    strength: Annotated[float, Field(ge=0, le=10)] = 1.0
    """multiplies the strength of every technique of the plan: 0 is no regularization, 1 what is written"""
    monitor: Literal["val/loss", "val/acc"] = "val/loss"
    """what the best epoch is best in; the one place that checkpoints and early stopping look at"""

    @property
    def goal(self) -> Goal:
        """The monitor, and whether it should fall or rise."""
        return Goal(self.monitor, "min" if self.monitor.endswith("loss") else "max")


@dataclasses.dataclass(frozen=True)
class Config:
    """A valid run."""

    run: Run
    data: DataSet
    model: Model
    optim: Optimizer
    trainer: TrainerSpec
    logger: LoggerSpec
    regularizer: dict[str, Regularizer]
    callbacks: dict[str, Observer]

    def as_dict(self) -> dict[str, Any]:
        """Plain data that `validate` accepts again."""
        result = self.run.model_dump()
        for group in NAMED:
            part: Spec = getattr(self, group)
            result[group] = {"name": part.name, **part.model_dump()}
        for group in MANY:
            result[group] = {name: part.model_dump() for name, part in getattr(self, group).items()}
        for group in FIXED:
            result[group] = getattr(self, group).model_dump()
        return result


# ---- compose: YAML files and overrides → nested dict


def companions(technique: str) -> list[str]:
    """Techniques that supply what one needs: of several, the one that is in the default plan."""
    usual = load([]).regularizer
    choices = [suppliers(need) for need in spec.load("regularizer", technique).needs]
    return [next((n for n in names if n in usual), names[0]) for names in choices]


def load(arguments: Sequence[str]) -> Config:
    """The valid run that these command-line overrides describe. Raises Refused with every problem found."""
    tree, problems = compose(arguments)
    origins = Origins(arguments, tree)
    try:
        config = validate(tree, origins)
    except Refused as refusal:
        raise Refused(*problems, *(p for p in refusal.problems if p not in problems)) from None
    if problems:
        raise Refused(*problems)
    return config


def compose(arguments: Sequence[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The tree of all values, and the overrides that could not be followed (which are left out of it)."""
    overrides = ParsedOverrides(arguments)
    problems = overrides.problems
    try:
        tree = join(overrides.choices)
    except Refused as refusal:
        raise Refused(*problems, *refusal.problems) from None
    for group, file in overrides.additions:
        tree[group] = OmegaConf.merge(tree[group], OmegaConf.load(file))
    for override in overrides.values:
        problems += _set_or_refuse(tree, override)
    if asking := _asking(tree):
        raise Refused(*problems, *asking)
    try:
        plain: Any = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise Refused(*problems, Problem(str(error.full_key or "configs"), str(error.msg).splitlines()[0])) from None
    return plain, problems


class ParsedOverrides:
    """The overrides of a command line, by what has to be done with them; a problem for each that cannot be followed."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.choices: list[str] = []  # group=option: for Hydra
        self.additions: list[tuple[str, Path]] = []  # +group=option: the group and the file that is merged into it
        self.values: list[Any] = []  # key=value, +key=value, ~key
        self.problems: list[Problem] = []
        options = config_dir.list_groups()
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
        if group in MANY and override.is_add():
            self.additions += [(group, config_dir.config_dir() / group / f"{o}.yaml") for o in valid]
        elif group in MANY:
            self.choices.append(f"{group}=[{','.join(valid or ['none'])}]")
        elif len(valid) > 1:
            self.problems.append(Problem(group, f"takes one option, not {len(valid)}"))
        elif value is None and group in (*NAMED, *FIXED):
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


def changed(saved: Mapping[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """A saved tree with `key=value` set on top. Raises Refused with every argument that is something else."""
    tree, problems, options = OmegaConf.create(dict(saved)), [], config_dir.list_groups()
    for argument in arguments:
        override = _parse(argument)
        if override is None or override.is_sweep_override() or override.is_delete() or override.key_or_group in options:
            problems.append(Problem(argument, "is no change of one value", "write key=value, for example logger.wandb=off"))
        else:
            problems += _set(tree, override)
    if problems:
        raise Refused(*problems)
    plain: Any = OmegaConf.to_container(tree, resolve=False)  # it may be a stranger's
    return plain


def join(choices: Sequence[str]) -> DictConfig:
    """The tree of configs/train.yaml with these options of groups, as Hydra composes it. Raises Refused."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import ConfigCompositionException, MissingConfigException

    try:
        with initialize_config_dir(str(config_dir.config_dir()), version_base="1.3"):
            tree = hydra_compose("train", overrides=list(choices))
    except MissingConfigException as error:
        missing = str(error.missing_cfg_file or "")
        group, _, option = missing.rpartition("/")
        raise Refused(
            Problem(group or missing, f"has no option {option!r}", nearest(option, config_dir.list_groups().get(group, ())))
        ) from None
    except (ConfigCompositionException, OmegaConfBaseException, YAMLError) as error:
        raise Refused(Problem("configs", " ".join(str(error).split()))) from None
    OmegaConf.set_struct(tree, False)
    return tree


def _asking(tree: DictConfig) -> list[Problem]:
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
        near = nearest(key.partition(".")[0], [*Run.model_fields, *NAMED, *MANY, *FIXED])
        return [Problem(key, "leads nowhere", near)]


def _set(tree: DictConfig, override: Any) -> list[Problem]:
    """Follow one key=value, +key=value or ~key. Raises what OmegaConf does if the key leads nowhere."""
    key = override.key_or_group
    group, *rest = key.split(".")
    if override.is_delete():
        return _delete(tree, key)
    node = tree.get(group)
    if group in MANY and rest and isinstance(node, DictConfig) and rest[0] not in node and not override.is_add():
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
    if name not in spec.names(group):
        key = ".".join([group, *rest])
        return [Problem(key, f"there is no {group} {name!r}", nearest(name, spec.names(group)))]
    what = f"{name} is not part of this run, which has: {', '.join(present) or 'none'}"
    return [Problem(f"{group}.{name}", what, f"+{group}={name} adds it"), *_check_field(group, rest, value)]


def _check_field(group: str, rest: list[str], value: Any) -> list[Problem]:
    """What would be wrong with the field if the technique were part of the run."""
    cls = spec.load(group, rest[0])
    if len(rest) < 2:
        return []
    _, problems = build_part(cls, {rest[1]: value}, f"{group}.{rest[0]}", Origins([], {}))
    return [p for p in problems if p.key.endswith(rest[1])]


# ---- where a value came from


class Origins:
    """Says which file or override a key came from."""

    def __init__(self, arguments: Sequence[str], tree: Mapping[str, Any]) -> None:
        self.arguments = [a.lstrip("+~") for a in arguments]
        said = {g: node.get("name") for g in NAMED if isinstance(node := tree.get(g), Mapping)}
        said |= dict(a.split("=", 1) for a in self.arguments if "=" in a)
        wanted = [(g, said.get(g)) for g in ("experiment", "debug", *NAMED)]
        self.files = [
            config_dir.config_dir() / g / f"{option}.yaml"
            for g, option in wanted
            if option in config_dir.list_groups().get(g, ())
        ]
        self.files += [config_dir.config_dir() / "train.yaml"]

    def of(self, key: str) -> str:
        """A phrase, or nothing if it cannot be told."""
        if key in (argument.split("=", 1)[0] for argument in self.arguments):
            return "on the command line"
        for file in self.files:
            if not file.is_file():
                continue
            content = OmegaConf.load(file)
            inner = key if OmegaConf.select(content, key) is not None else key.partition(".")[2]
            if inner and isinstance(content, DictConfig) and OmegaConf.select(content, inner) is not None:
                return f"in configs/{file.relative_to(config_dir.config_dir()).as_posix()}"
        return ""


# ---- validate: nested dict → Config


def validate(tree: Mapping[str, Any], origins: "Origins | None" = None) -> Config:
    """Check every value of a composed or saved tree. Raises Refused with every problem found."""
    origins = origins or Origins([], tree)
    keys = [*Run.model_fields, *NAMED, *MANY, *FIXED]
    unknown = [key for key in tree if key not in keys]
    problems = [Problem(str(key), "unknown key", nearest(str(key), keys), origins.of(str(key))) for key in unknown]
    results = {"run": build_part(Run, {k: v for k, v in tree.items() if k in Run.model_fields}, "", origins)}
    results |= {group: _build_named(group, tree.get(group), origins) for group in NAMED}
    results |= {group: _build_many(group, tree.get(group), origins) for group in MANY}
    results |= {group: build_part(cls, _or_empty(tree.get(group)), group, origins) for group, cls in FIXED.items()}
    parts = {name: part for name, (part, _) in results.items()}
    problems += [p for _, part_problems in results.values() for p in part_problems]
    if not problems:
        problems = conflicts(list(parts["regularizer"].values()), parts["trainer"].circumstances())
    if problems:
        raise Refused(*problems)
    return Config(**parts)


def _or_empty(node: Any) -> Any:
    return {} if node is None else node


def _build_named(group: str, node: Any, origins: Origins) -> tuple[Any, list[Problem]]:
    """The extension that `name` chooses, or None and what is wrong with it."""
    if not isinstance(node, Mapping):
        return None, [Problem(group, f"there is no {group} {node!r}", nearest("None", spec.names(group)))]
    name = node.get("name")
    if name not in spec.names(group):
        return None, [Problem(f"{group}.name", f"there is no {group} {name or node!r}", nearest(str(name), spec.names(group)))]
    return build_part(spec.load(group, str(name)), {k: v for k, v in node.items() if k != "name"}, group, origins)


def _build_many(group: str, node: Any, origins: Origins) -> tuple[dict[str, Any], list[Problem]]:
    """The extensions by their names, and what is wrong with any of them."""
    node = _or_empty(node)
    if not isinstance(node, Mapping):
        return {}, [Problem(group, f"{node!r} is not a mapping from names to settings", "", origins.of(group))]
    parts: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, fields in node.items():
        key = f"{group}.{name}"
        if name in spec.names(group):
            parts[name], part_problems = build_part(spec.load(group, str(name)), _or_empty(fields), key, origins)
            problems += part_problems
        else:
            what = f"there is no {group} {name!r}"
            problems.append(Problem(key, what, nearest(str(name), spec.names(group)), origins.of(key)))
    return parts, problems


def build_part(cls: type[Strict], fields: Any, prefix: str, origins: Origins) -> tuple[Any, list[Problem]]:
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
            problems.setdefault(key, Problem(key, what, hint, origins.of(key)))
        return None, list(problems.values())


def _location(cls: type[Strict], loc: tuple[Any, ...]) -> tuple[list[str], type[Any]]:
    """The keys that lead to an error, and the class whose field the last one is."""
    if RAMP in loc[1:2]:
        return [str(loc[0]), *map(str, loc[2:3])], Ramp
    return [str(part) for part in loc if part in cls.model_fields or part == loc[0]], cls


def _nearest_value(cls: type[Strict], location: list[str], error: Any) -> str:
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
