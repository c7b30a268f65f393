"""Paths that do not show the home folder: saved and printed paths have `~`, which is expanded when a path is opened."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from pydantic_core import CoreSchema, core_schema

from regulo.core.environment_variables import restore_variables
from regulo.core.errors import InputError, Problem
from regulo.core.program import PROGRAM

CACHE_VARIABLE = "REGULO_CACHE"
"""environment variable with the folder for files that can be made again"""
EMPTY_PATH = "the path is empty: if it comes from a variable such as $DATA, that is not set"


class PathStr:
    """A path in a configuration, which others may read (config.yaml, checkpoints, W&B): it has `~` in place of the home folder.

    It is neither a string nor a path, so that nothing can open it before `expand_path`. In saved configurations it is text.
    """

    def __init__(self, text: str) -> None:
        """Raises ValueError if the text is empty, which would be the current folder."""
        if not text:
            raise ValueError(EMPTY_PATH)
        self._text = redact_home(text)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return repr(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == str(other) if isinstance(other, str | PathStr) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    @classmethod
    def _validate(cls, value: Any) -> "PathStr":
        if not isinstance(value, str | PathStr):
            raise ValueError(f"a path is text, and this is {value!r}"[:100])
        return cls(str(value))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """Made from text, and saved as text."""
        make = core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=make,
            python_schema=core_schema.no_info_plain_validator_function(cls._validate),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )


def find_home() -> Path | None:
    """The home folder of the current user; None for a user without one, as in a container that knows only the user's number."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def user_cache_dir() -> Path | None:
    """The folder for files that can be made again: that of `CACHE_VARIABLE`, else one in XDG_CACHE_HOME or in ~/.cache.

    None for a user without a home. It need not exist. Raises InputError if the variable holds no path.
    """
    if folder := os.environ.get(CACHE_VARIABLE):
        return expand_path(folder).absolute()
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # the standard says that such a value is ignored
        home = find_home()
        if home is None:
            return None
        base = home / ".cache"
    return base / PROGRAM


@contextmanager
def library_folders() -> Iterator[None]:
    """Within: W&B, matplotlib and torch have a temporary folder for settings and caches, if the user has no home for them."""
    if find_home():
        yield
        return
    with TemporaryDirectory(prefix="regulo-", ignore_cleanup_errors=True) as folder:
        names = [name for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "WANDB_CONFIG_DIR") if name not in os.environ]
        with restore_variables(*names):
            os.environ.update(dict.fromkeys(names, folder))
            yield


def redact_home(text: str) -> str:
    """The text with `~` in place of the home folder, at the beginning of every path in it."""
    home = find_home()
    for folder in {str(home), str(home.resolve())} - {"/"} if home else ():
        text = re.sub(rf"(?<![\w/.-]){re.escape(folder)}(?![\w.-])", "~", text)
    return text


def expand_home(text: str, key: str) -> Path:
    """The path with `~` expanded to the home of the current user. Raises InputError for `key` if this user has none."""
    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError):
        if Path(text).parts[:1] == ("~",):
            what = f"{text[:60]!r} lies in the home folder, and this user has none"
            raise InputError(Problem(key, what, "set HOME, or write the whole path")) from None
        return Path(text)  # ~nobody


def expand_path(path: str | PathStr) -> Path:
    """The path with `~` expanded to the home of the current user. Raises InputError if the text cannot be a path."""
    text = str(path)
    if not text:
        raise InputError(Problem("PATH", EMPTY_PATH))
    result = expand_home(text, "PATH")
    try:
        result.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, ValueError) as error:  # too long, a loop of links, a null character
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(Problem("PATH", f"{text[:60]!r} cannot be a path: {why}")) from error
    return result


def is_path_type(annotation: Any) -> bool:
    """Whether the values of a type are paths: `PathStr`, alone or with None."""
    return annotation is PathStr or PathStr in get_args(annotation)
