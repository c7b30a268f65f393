"""Runs of older versions: configurations and checkpoints with their old names, in today's names.

Old names are refused on the command line and in YAML files; the tables below give the hint.
"""

from collections.abc import Mapping
from typing import Any

RENAMED_KEYS = {
    "trainer.hang_seconds": "trainer.hang_timeout",
    "optim.clip": "optim.grad_clip_norm",
    "optim.lr_for_batch": "optim.lr_base_batch",
    "data.check": "data.verify_images",
    "data.train_images": "data.max_train_images",
}
"""old key → new key, from 0.1 to 0.2"""
RENAMED_VALUES = {("logger.wandb", "off"): "disabled"}
"""(key, old value) → new value, from 0.1 to 0.2"""
RENAMED_ERRORS = {"Diverged": "NonFiniteLossError"}
"""old `error_type` of result.json → new one, from 0.1 to 0.2"""
IMPLICIT_VALUES = {"data": {"device": "loader"}, "trainer": {"compile": "off"}}
"""of keys that a run may lack: what it did before there was the key"""


def upgrade_config(config: dict[str, Any]) -> dict[str, Any]:
    """A saved configuration with today's keys and values; the same object if it has them already.

    Every configuration that 0.2 saves has `trainer.hang_timeout`. So a field of someone's own extension may have an old name.
    """
    trainer = config.get("trainer")
    if isinstance(trainer, Mapping) and "hang_timeout" not in trainer:
        config = {group: _upgrade_section(str(group), section) for group, section in config.items()}
    missing = {
        group: {**values, **config[group]}
        for group, values in IMPLICIT_VALUES.items()
        if isinstance(config.get(group), Mapping) and values.keys() - config[group].keys()
    }
    return {**config, **missing} if missing else config


def _upgrade_section(group: str, section: Any) -> Any:
    if not isinstance(section, Mapping):
        return section
    result = {}
    for name, value in section.items():
        key = f"{group}.{name}"
        new_name = RENAMED_KEYS.get(key, "").removeprefix(f"{group}.")
        if not new_name or new_name in section:  # with both names, the old one is refused later
            new_name = name
        result[new_name] = RENAMED_VALUES.get((key, value), value) if isinstance(value, str) else value
    return result


def upgrade_checkpoint(checkpoint: Any) -> Any:
    """A checkpoint whose configuration has today's keys and values; the same object if there is nothing to change."""
    record = checkpoint.get("regulo") if isinstance(checkpoint, Mapping) else None
    config = record.get("config") if isinstance(record, Mapping) else None
    if not isinstance(config, dict) or not isinstance(record, Mapping):
        return checkpoint
    return {**checkpoint, "regulo": {**record, "config": upgrade_config(config)}}


def upgrade_error_type(error_type: Any) -> Any:
    """The `error_type` of a result.json with today's name of the exception."""
    return RENAMED_ERRORS.get(error_type, error_type) if isinstance(error_type, str) else error_type


def renamed_key_hint(key: str) -> str:
    """The hint for an old key; empty if it is none."""
    return f"now {RENAMED_KEYS[key]}" if key in RENAMED_KEYS else ""


def renamed_value_hint(key: str, value: Any) -> str:
    """The hint for an old value of a key; empty if it is none. YAML reads the word `off` as False, which counts as "off"."""
    word = "off" if value is False else value
    new = RENAMED_VALUES.get((key, word)) if isinstance(word, str) else None
    return f"now {new}" if new else ""
