"""The command that repeats a run: the overrides by which its configuration differs from the defaults."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from regulo.config import validate
from regulo.doctor.recipe import Recipe


def command(saved: Mapping[str, Any]) -> str:
    """The `make` command that trains with a saved configuration again, into a new folder. Raises Refused if it is not valid."""
    words = " ".join(_shell_word(word) for word in Recipe.of(validate(saved)).words()).replace("$", "$$")  # make expands a dollar
    if not words:
        return "make train"
    return f'make train ARGS="{words}"' if not set(words) & set('"$`\\!') else f"make train ARGS={shlex.quote(words)}"


def _shell_word(override: str) -> str:
    """It as a word for the shell that make starts, as plain as can be."""
    return override if re.fullmatch(r"[\w.+~@%/:,=\[\]{}-]+", override) else shlex.quote(override)
