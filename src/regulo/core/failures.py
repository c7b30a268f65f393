"""Known failures that are not bugs: disks, memory, loader processes, servers, damaged files. Each has a message of one line.

Any other exception is a bug and keeps its traceback.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regulo.core.errors import InputError, Problem, RunError, UnreadableImageError

DISK = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EROFS: "choose a run_dir that can be written to",
    errno.EACCES: "choose a run_dir that can be written to",
    errno.EPERM: "choose a run_dir that can be written to",
    errno.EIO: "look at the disk; choose another run_dir",
    errno.ESTALE: "look at the network disk; choose another run_dir",
}
"""the hint for an error of the operating system, by errno"""
NO_MEMORY = re.compile(
    r"can't allocate memory|not enough memory|CUDA (error: )?out of memory|CUBLAS_STATUS_ALLOC_FAILED|bad_alloc"
    r"|Insufficient memory|Cannot allocate memory",
    re.IGNORECASE,
)
NO_SHARED_MEMORY = re.compile(
    r"Bus error|out of shared memory|shared memory file|unable to (?:mmap|allocate shared memory|write to file </torch_)"
)
LOADER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)")


def explain(error: BaseException, batch_size: int, folder: Path | None = None) -> Problem | None:
    """The problem and a hint, if `error` or one of its causes is a known failure; else None. `folder`: the run folder.

    The first cause counts, because cleaning up after one failure often raises another one.
    """
    for link in reversed(list(_chain(error))):
        problem = (
            _explain_image(link)
            or _explain_memory(link, batch_size)
            or _explain_loader(link)
            or _explain_disk(link, folder)
            or _explain_server(link)
        )
        if problem:
            return problem
    return None


def as_run_error(error: BaseException, batch_size: int, folder: Path) -> BaseException:
    """A known failure as a RunError with a message of one line; any other error as it is."""
    if not isinstance(error, Exception) or isinstance(error, RunError | InputError):
        return error
    problem = explain(error, batch_size, folder)
    if problem is None:
        return error
    failure = RunError(str(problem))
    failure.__cause__ = error
    return failure


@contextmanager
def as_input_error(batch_size: int) -> Iterator[None]:
    """Within: a known failure is raised as InputError, because no training has started yet."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        problem = explain(error, batch_size)
        if problem is None:
            raise
        raise InputError(problem) from error


def summary(error: BaseException) -> str:
    """The most informative line of an exception: the last one if it comes from a loader process, else the first one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if lines[0].startswith("Caught ") else lines[0]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, newest first."""
    link_ids: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in link_ids:
        link_ids.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _explain_image(error: BaseException) -> Problem | None:
    if not isinstance(error, UnreadableImageError):
        return None
    what = summary(error).removeprefix("regulo.core.errors.UnreadableImageError: ")
    return Problem("data.root", what, "repair, replace or remove it")


def _explain_memory(error: BaseException, batch_size: int) -> Problem | None:
    import torch

    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not NO_MEMORY.search(str(error)):
        return None
    hint = f"try data.batch_size={batch_size // 2}" if batch_size > 1 else "try a smaller model or smaller images"
    images = f"{batch_size} image{'s' * (batch_size > 1)}"
    return Problem("data.batch_size", f"out of memory with {images} per step and device", hint)


def _explain_loader(error: BaseException) -> Problem | None:
    if not isinstance(error, RuntimeError | OSError):
        return None
    if NO_SHARED_MEMORY.search(str(error)):
        hint = "enlarge it (docker: --shm-size=8g), or try fewer data.num_workers or a smaller data.batch_size"
        return Problem("data.num_workers", "the loader processes found no room in shared memory (/dev/shm)", hint)
    if match := LOADER.search(str(error)):
        how = f"was killed: {match[2].strip()}" if match[2] else "ended unexpectedly"
        hint = "most often the machine's memory is full: try fewer data.num_workers or a smaller data.batch_size"
        return Problem("data.num_workers", f"a loader process (pid {match[1]}) {how}", hint)
    return None


def _explain_disk(error: BaseException, folder: Path | None) -> Problem | None:
    if not isinstance(error, OSError) or not error.errno:
        return None
    what = f"{error.strerror}{f': {os.fspath(error.filename)!r}' if error.filename else ''}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = f"disk full ({what})"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Problem("data.num_workers", what, "raise the limit of open files (ulimit -n), or try fewer data.num_workers")
    if error.errno in DISK:
        hint = DISK[error.errno]
        return Problem("run_dir", f"cannot write to {folder}: {what}" if folder else what, hint)
    if folder and not folder.is_dir():
        return Problem("run_dir", f"{folder} has disappeared while the run wrote to it", "leave it alone until the run has ended")
    return None


def _explain_server(error: BaseException) -> Problem | None:
    """W&B can end a run only at the start: later, the run continues without the server."""
    if not type(error).__module__.startswith("wandb."):
        return None
    return Problem("logger.wandb", f"W&B: {summary(error)}", "look at WANDB_API_KEY and the server, or use logger=wandb")
