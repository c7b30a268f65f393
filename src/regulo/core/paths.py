"""Paths that keep the user's home to themselves: what is kept or shown says `~`, what is opened is expanded."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from regulo.core.errors import InputError, Problem


def redact_home(text: str) -> str:
    """The text with `~` for the home folder, wherever a path in it begins with that."""
    for home in {str(Path.home()), str(Path.home().resolve())} - {"/"}:
        text = re.sub(rf"(?<![\w/.-]){re.escape(home)}(?![\w.-])", "~", text)
    return text


def expand_path(path: str) -> Path:
    """The path that such a text means; a `~` is that of whoever reads it. Raises InputError for what can be no path."""
    try:
        found = Path(path).expanduser()
    except (RuntimeError, ValueError):  # ~nobody
        found = Path(path)
    try:
        found.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:  # too long, a loop of links, a null character
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(Problem("PATH", f"{path[:60]!r} cannot be a path: {why}")) from error
    return found


PathStr = Annotated[str, AfterValidator(redact_home)]
"""a path in a configuration, which travels: config.yaml, checkpoints, W&B"""
