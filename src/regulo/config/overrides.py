"""The shortest description of a run: options of config groups, and the values that differ from them."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regulo.config import compose
from regulo.config.schema import MULTI, SECTIONS, SINGLE, Config, RunConfig
from regulo.core import registry
from regulo.core.nested import flatten
from regulo.core.safe_io import dump_yaml

LOCATION_KEYS = ("run_dir",)
"""keys that say where a run is stored, not what it computes"""


@dataclass(frozen=True)
class Overrides:
    """The options of the groups, and the values that are set after them."""

    choices: dict[str, str | list[str]]
    values: dict[str, Any]

    @classmethod
    def from_config(cls, config: Config, explicit: bool = False) -> "Overrides":
        """The overrides that make a run; `explicit`: with the option of every group, also where it is the default."""
        choices: dict[str, str | list[str]] = {}
        base = values_of(choices)
        for group in (*SINGLE, "regularizer"):  # a data set and a model may set options of the groups after them
            part, default = getattr(config, group), base[group]
            option, default_option = (list(part), list(default)) if group in MULTI else (part.name, default["name"])
            if explicit or option != default_option:
                choices[group] = option or ["none"]
                base = values_of(choices)
        values = {k: v for k, v in config.as_dict().items() if k not in LOCATION_KEYS}
        if values["callbacks"] != base["callbacks"]:
            choices["callbacks"] = ["none"]  # every callback is then a value
            base = values_of(choices)
        return cls(choices, dict_difference(values, base))

    def to_args(self) -> list[str]:
        """The overrides, as words of a command line."""
        words = [f"{group}={format_value(option)}" for group, option in self.choices.items()]
        values = flatten(self.values, is_ramp)
        return words + [f"{'+' if key.startswith('callbacks.') else ''}{key}={format_value(v)}" for key, v in values.items()]

    def to_experiment(self, name: str, head: str) -> str:
        """The text of `configs/experiment/<name>.yaml`; `head` is the comment after its first line."""
        defaults: list[Any] = [{f"override /{group}": option} for group, option in self.choices.items()]
        content = {"defaults": [*defaults, "_self_"], "name": name} | {k: v for k, v in self.values.items() if k != "name"}
        comment = "".join(f"# {line}\n" for line in head.splitlines())
        return f"# @package _global_\n{comment}{dump_yaml(content)}"


def values_of(choices: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """All values that these options set, with the defaults of the classes. Conflicts between options are not checked."""
    tree, _ = compose.compose_tree([f"{group}={format_value(option)}" for group, option in choices.items()])
    result = RunConfig(**{k: v for k, v in tree.items() if k in RunConfig.model_fields}).model_dump()
    for group in SINGLE:
        fields = {k: v for k, v in tree[group].items() if k != "name"}
        result[group] = {"name": tree[group]["name"], **registry.get_plugin(group, tree[group]["name"])(**fields).model_dump()}
    for group in MULTI:
        result[group] = {
            n: registry.get_plugin(group, n)(**(fields or {})).model_dump() for n, fields in (tree[group] or {}).items()
        }
    for group, cls in SECTIONS.items():
        result[group] = cls(**tree[group]).model_dump()
    return result


def is_ramp(value: Mapping[str, Any]) -> bool:
    """Whether a mapping in the values of a run is a ramp, which an override sets as a whole."""
    return "shape" in value


def dict_difference(tree: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a nested mapping that `base` lacks, or that have another value there."""
    difference: dict[str, Any] = {}
    for key, value in tree.items():
        base_value = base.get(key)
        if isinstance(value, Mapping) and isinstance(base_value, Mapping) and not is_ramp(value):
            if inner := dict_difference(value, base_value):
                difference[key] = inner
        elif key not in base or value != base_value:
            difference[key] = value
    return difference


RESERVED_WORDS = {"null", "true", "false", "nan", "inf"}
"""strings that need quotes, because Hydra reads them as another type"""


def format_value(value: Any) -> str:
    """A value as an override writes it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{format_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(format_value, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str) and (value.lower() in RESERVED_WORDS or not re.fullmatch(r"[A-Za-z_/.][\w./+-]*", value)):
        return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value) + "'"
    return str(value)


def make_command(arguments: Sequence[str], target: str = "train") -> str:
    """The `make` command with these arguments, ready to copy: neither make nor the shell expands anything in it."""
    words = " ".join(_quote_for_shell(word) for word in arguments).replace("$", "$$")  # make expands a dollar sign
    if not words:
        return f"make {target}"
    return f'make {target} ARGS="{words}"' if not set(words) & set('"$`\\!') else f"make {target} ARGS={shlex.quote(words)}"


def _quote_for_shell(override: str) -> str:
    """The override as one word for the shell that make starts; without quotes if it needs none."""
    return override if re.fullmatch(r"[\w.+~@%/:,=\[\]-]+", override) else shlex.quote(override)
