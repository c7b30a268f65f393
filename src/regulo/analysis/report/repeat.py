"""The command that repeats a run: the overrides by which its configuration differs from the defaults."""

from collections.abc import Mapping
from typing import Any

from regulo.config.overrides import Overrides, make_command
from regulo.config.validate import validate_config


def command(config: Mapping[str, Any]) -> str:
    """The `make` command that trains with a saved configuration again. Raises InputError if the configuration is not valid."""
    return make_command(Overrides.from_config(validate_config(config)).to_args())
