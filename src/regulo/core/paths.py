"""Paths that do not show the home folder: saved and printed paths have `~`, which is expanded when a path is opened."""

import re
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator

from regulo.core.errors import InputError, Problem

EMPTY_PATH = "the path is empty: if it comes from a variable such as $DATA, that is not set"


def redact_home(text: str) -> str:
    """The text with `~` in place of the home folder, at the beginning of every path in it."""
    for home in {str(Path.home()), str(Path.home().resolve())} - {"/"}:
        text = re.sub(rf"(?<![\w/.-]){re.escape(home)}(?![\w.-])", "~", text)
    return text


def expand_path(path: str) -> Path:
    """The path with `~` expanded to the home of the current user. Raises InputError if the text cannot be a path."""
    if not path:
        raise InputError(Problem("PATH", EMPTY_PATH))
    try:
        result = Path(path).expanduser()
    except (RuntimeError, ValueError):  # ~nobody
        result = Path(path)
    try:
        result.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:  # too long, a loop of links, a null character
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(Problem("PATH", f"{path[:60]!r} cannot be a path: {why}")) from error
    return result


def _check_path(path: str) -> str:
    """The path as it is saved. Raises ValueError if it is empty, which would be the current folder."""
    if not path:
        raise ValueError(EMPTY_PATH)
    return redact_home(path)


PathStr = Annotated[str, AfterValidator(_check_path)]
"""a path in a configuration, which others may read: config.yaml, checkpoints, W&B"""


def is_path_type(annotation: Any) -> bool:
    """Whether the values of a type are paths: `PathStr`, alone or with None."""
    return annotation == PathStr or PathStr in get_args(annotation)
