"""The shortest description of a run: options of config groups, and the values in which it differs from them."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from regulo.config import compose
from regulo.config.schema import MULTI, SECTIONS, SINGLE, Config, RunConfig
from regulo.core import registry
from regulo.core.nested import flatten

LOCATION_KEYS = ("run_dir",)
"""says where a run is kept and not what it is"""


@dataclass(frozen=True)
class Overrides:
    """What to choose of the groups, and what to set behind it."""

    choices: dict[str, str | list[str]]
    values: dict[str, Any]

    @classmethod
    def from_config(cls, config: Config, explicit: bool = False) -> "Overrides":
        """The recipe of a run; `explicit`: with every group's option, also where it is the usual one."""
        choices: dict[str, str | list[str]] = {}
        for group in (*SINGLE, "regularizer"):  # a data set and a model may bring options of the groups behind them
            part, usual = getattr(config, group), values_of(choices)[group]
            option, known = (list(part), list(usual)) if group in MULTI else (part.name, usual["name"])
            if explicit or option != known:
                choices[group] = option or ["none"]
        wanted = {k: v for k, v in config.as_dict().items() if k not in LOCATION_KEYS}
        if wanted["callbacks"] != values_of(choices)["callbacks"]:
            choices["callbacks"] = ["none"]  # and each of them is spelt out
        return cls(choices, dict_difference(wanted, values_of(choices)))

    def to_args(self) -> list[str]:
        """Overrides that make the run on the command line."""
        chosen = [f"{group}={format_value(option)}" for group, option in self.choices.items()]
        values = flatten(self.values, is_ramp)
        return chosen + [f"{'+' if key.startswith('callbacks.') else ''}{key}={format_value(v)}" for key, v in values.items()]

    def to_experiment(self, name: str, head: str) -> str:
        """The text of `configs/experiment/<name>.yaml`; `head` is the comment below its first line."""
        defaults: list[Any] = [{f"override /{group}": option} for group, option in self.choices.items()]
        content = {"defaults": [*defaults, "_self_"], "name": name} | {k: v for k, v in self.values.items() if k != "name"}
        comment = "".join(f"# {line}\n" for line in head.splitlines())
        return f"# @package _global_\n{comment}{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}"


def values_of(choices: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """All values that these options bring, defaults of the classes included; they need not fit together."""
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
    """Whether a mapping in a run's values is a ramp, which an override sets as a whole."""
    return "shape" in value


def dict_difference(wanted: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a nested mapping that is not in another one."""
    found: dict[str, Any] = {}
    for key, value in wanted.items():
        other = known.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping) and not is_ramp(value):
            if inner := dict_difference(value, other):
                found[key] = inner
        elif key not in known or value != other:
            found[key] = value
    return found


RESERVED_WORDS = {"null", "true", "false", "nan", "inf"}
"""strings that would be read as something else"""


def format_value(value: Any) -> str:
    """A value as an override writes it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{format_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(format_value, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str) and (value.lower() in RESERVED_WORDS or not re.fullmatch(r"[A-Za-z_/.][\w./+-]*", value)):
        return "'" + re.sub(r"(\\*)'", r"\1\1\\'", value) + "'"
    return str(value)


def make_command(overrides: Sequence[str]) -> str:
    """The `make` command of these overrides, to be copied: nothing in them is expanded by make or by a shell."""
    words = " ".join(_shell_word(word) for word in overrides).replace("$", "$$")  # make expands a dollar
    if not words:
        return "make train"
    return f'make train ARGS="{words}"' if not set(words) & set('"$`\\!') else f"make train ARGS={shlex.quote(words)}"


def _shell_word(override: str) -> str:
    """It as a word for the shell that make starts, as plain as can be."""
    return override if re.fullmatch(r"[\w.+~@%/:,=\[\]{}-]+", override) else shlex.quote(override)
