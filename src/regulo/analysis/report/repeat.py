"""The command that repeats a run: the overrides by which its configuration differs from the defaults."""

from collections.abc import Mapping
from typing import Any

from regulo.config.overrides import Recipe, make_train
from regulo.config.validate import validate


def command(saved: Mapping[str, Any]) -> str:
    """The `make` command that trains with a saved configuration again, into a new folder. Raises Refused if it is not valid."""
    return make_train(Recipe.of(validate(saved)).words())
