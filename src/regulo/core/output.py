"""Standard output and standard error that can be closed by their reader, as in `regulo list | head -1`.

Without this, the next write raises BrokenPipeError: in a training callback, or when the interpreter shuts down.
"""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

CLOSED_PIPE = 141
"""exit code of a command whose output is closed: 128 + SIGPIPE, the code that shells report for other programs"""
NOBODY_READS = (errno.EPIPE, errno.EIO)
"""of a pipe that its reader has closed, and of a terminal that is closed"""


class _Descriptor(io.FileIO):
    """A file descriptor. After the first failed write, it and its copies write to os.devnull."""

    def __init__(self, number: int, required: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.required = required

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # another process has made it non-blocking, and it is full
                select.select([], [self], [])
            return written
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            nobody_reads = error.errno in NOBODY_READS
            if not nobody_reads and self.fileno() != 2:  # a full disk loses output: it must be reported
                with suppress(OSError):  # past sys.stderr, which a progress bar may have led back to this file
                    os.write(2, f"regulo: cannot write the output: {error.strerror}\n".encode())
            if self.required:
                raise SystemExit(CLOSED_PIPE if nobody_reads else 1) from None
            return len(data)


@contextmanager
def safe_output(required: bool) -> Iterator[None]:
    """Within: output that cannot be written raises no OSError, and letters that the encoding lacks are escaped.

    `required`: the output is the result. The process then ends quietly with code `CLOSED_PIPE` when the reader has closed it,
    and with 1 when it cannot be written for another reason. Otherwise the output is dropped, and the work continues.
    """
    with ExitStack() as stack:
        for name, is_required in (("stdout", required), ("stderr", False)):
            plain = getattr(sys, name)
            if plain is not None and plain is getattr(sys, f"__{name}__"):  # leave the streams of tests and notebooks alone
                stack.enter_context(_replace_stream(name, plain, is_required))
        yield


@contextmanager
def _replace_stream(name: str, plain: TextIO, required: bool) -> Iterator[None]:
    """Within: `sys.stdout` or `sys.stderr` writes through a `_Descriptor`."""
    plain.flush()
    descriptor: Any = _Descriptor(plain.fileno(), required)
    stream = io.TextIOWrapper(
        io.BufferedWriter(descriptor),
        encoding=plain.encoding,
        errors=plain.errors if plain.errors != "strict" and "utf" in plain.encoding.lower() else "backslashreplace",
        line_buffering=bool(plain.line_buffering or getattr(plain, "write_through", False)),
    )
    setattr(sys, name, stream)
    try:
        yield
    finally:
        try:
            stream.flush()
        finally:
            setattr(sys, name, plain)
