"""What loggers show of a run: a name that says what is different about it, the settings that matter, and tags."""

import itertools
from collections.abc import Mapping
from typing import Any

from regulo.config.overrides import Overrides, format_value, is_ramp
from regulo.config.schema import SINGLE, Config
from regulo.core.nested import flatten
from regulo.core.paths import PathStr
from regulo.tracking.environment import describe_hardware
from regulo.training.resume import AUTOTUNE_KEYS, is_overridable

HIDDEN_KEYS = ("run_dir", "name", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.log_every_n_steps")
"""settings that say how and where a run is trained; those on which nothing depends that is learned are hidden, too"""
KEYS_WITHOUT_NAME = ("seed", *AUTOTUNE_KEYS)
"""settings that are not among the differences: the seed stands at the end of a title, and speed is measured on each machine"""
MAX_PARTS = 100
"""letters of a title, without the seed and the user's name"""


def run_title(config: Config) -> str:
    """What is different about a run from the default run, in short: `vit_tiny, +ema -mixup, lr=0.001, seed 1`.

    It depends on the configuration only. A `name=…` of the user stands before it.
    """
    from regulo.config import compose

    overrides = Overrides.from_config(config)
    parts = [str(option) for group, option in overrides.choices.items() if group in ("model", "data")]
    names, default = list(config.regularizer), list(compose.load_config([]).regularizer)
    changes = [*(f"+{name}" for name in names if name not in default), *(f"-{name}" for name in default if name not in names)]
    parts += [" ".join(changes) if names else "no regularization"] * bool(changes)
    values = {k: v for k, v in flatten(overrides.values, is_ramp).items() if k not in KEYS_WITHOUT_NAME and not _is_hidden(k)}
    values |= {key: _file_name(value) for key, value in values.items() if key in _path_keys(config)}
    parts += [f"{key.partition('.')[2] or key}={format_value(value)}" for key, value in values.items()]
    parts = _shorten(parts) + [f"seed {config.run.seed}"] * bool(config.run.seed)
    title = ", ".join(parts) or "default"
    return title if config.run.name == "run" else f"{config.run.name}: {title}"


def _shorten(parts: list[str]) -> list[str]:
    """The first parts of a title, as many as fit, and `…` if some are left out."""
    lengths = itertools.accumulate(len(part) + len(", ") for part in parts)
    count = sum(length <= MAX_PARTS for length in lengths)
    return parts if count == len(parts) else [*parts[:count], "…"]


def describe_config(config: Config) -> dict[str, Any]:
    """The settings on which the result depends, nested, without paths of this machine; plan in short, and hardware."""
    paths = _path_keys(config)
    tree: dict[str, Any] = {}
    for key, value in flatten(config.as_dict(), is_ramp).items():
        if value is not None and not _is_hidden(key):
            *parents, name = key.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = _file_name(value) if key in paths else value
    return tree | {"plan": "+".join(config.regularizer) or "none", "hardware": describe_hardware()}


def run_tags(config: Config) -> list[str]:
    """The names of model, data and techniques."""
    return [config.model.name, config.data.name, *config.regularizer]


def _is_hidden(key: str) -> bool:
    return key in HIDDEN_KEYS or is_overridable(key)


def _path_keys(config: Config) -> set[str]:
    """The keys whose values are paths of this machine."""
    parts: Mapping[str, Any] = {group: getattr(config, group) for group in SINGLE}
    return {f"{group}.{key}" for group, part in parts.items() for key, value in part if isinstance(value, PathStr)}


def _file_name(path: Any) -> str:
    return str(path).rstrip("/").rpartition("/")[2]
