"""A table of results in a file of the user's cache: what one run has measured, a later one need not measure again."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulo.core.errors import InputError
from regulo.core.files import atomic_write, file_lock
from regulo.core.paths import user_cache_dir
from regulo.core.safe_io import read_cache


@dataclass(frozen=True)
class CacheTable:
    """Without a folder for it, or with a file that cannot be read or written, it is empty, and nothing else is lost."""

    file_name: str
    max_rows: int = 500
    """the last ones written are saved"""

    def read(self, key: str) -> Any:
        """What was saved under this key, as JSON gives it; None: nothing."""
        file = self._file()
        return read_cache(file).get(key) if file else None

    def write(self, key: str, value: Any) -> None:
        """Save a value that JSON can express."""
        file = self._file()
        if not file:
            return
        with contextlib.suppress(OSError, InputError):
            file.parent.mkdir(parents=True, exist_ok=True)
            with file_lock(file.with_suffix(".lock")):
                rows = {name: row for name, row in read_cache(file).items() if name != key}
                rows = dict([*rows.items(), (key, value)][-self.max_rows :])
                atomic_write(file, json.dumps(rows, indent=1) + "\n")

    def _file(self) -> Path | None:
        folder = user_cache_dir()
        return folder / self.file_name if folder else None
