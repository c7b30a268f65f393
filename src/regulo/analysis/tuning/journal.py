"""The journal of a study: Optuna's file of what was asked and told, safe for several processes and for one that is killed.

Optuna's own locks are files that a killed process leaves behind. Here the system's lock is used, which ends with its process. And
a line that was written in part, because of a kill or a full disk, is cut off before the next one is written: Optuna would refuse
to read the file ever again.
"""

import fcntl
import os
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


class SystemLock:
    """A lock of the system, which also cuts off what is left of a line that was not written to its end."""

    def __init__(self, journal: Path) -> None:
        self.journal = journal
        self.descriptor = -1

    def acquire(self) -> bool:
        """Wait for the lock."""
        self.descriptor = os.open(self.journal.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o644)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        cut_torn_line(self.journal)
        return True

    def release(self) -> None:
        """Let others write."""
        os.close(self.descriptor)


def cut_torn_line(journal: Path) -> None:
    """Remove what stands after the last line end."""
    if journal.is_file() and (size := journal.stat().st_size):
        with journal.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read(size).rfind(b"\n") + 1)


def open_journal(file: Path) -> Any:
    """Optuna's storage on this file, which is made if it does not exist."""
    lock = SystemLock(file)
    lock.acquire()
    lock.release()
    return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))
