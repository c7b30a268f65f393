"""Decoded images of any size in one file, which all processes of a machine map into their memory and share."""

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from regulo.core.affinity import reader_threads

FIELDS = 5
"""int64 numbers of each image at the start of the file: offset of its pixels, their height and width, height and width of the
original"""
MIN_FOR_PROGRESS = 500
"""images from which on a progress bar is shown"""

Size = tuple[int, int]
"""height and width in pixels"""


class PixelFile:
    """The images of a file that `write_pixels` has written. It is pickled as its path, so each process maps the file itself."""

    def __init__(self, path: str, count: int, channels: int) -> None:
        """Raises OSError if there is no file, and ValueError if it is not whole."""
        self.path, self.count, self.channels = path, count, channels
        self._descriptor = os.open(path, os.O_RDONLY)  # as long as it is open, a file without a name exists
        weakref.finalize(self, os.close, self._descriptor)
        with open(self._descriptor, "rb", closefd=False) as file:
            self._bytes = np.memmap(file, np.uint8, "r")
        head = self._bytes[: count * FIELDS * 8]
        if len(head) < count * FIELDS * 8:
            raise ValueError("the index is cut off")
        self._index = head.view(np.int64).reshape(count, FIELDS)
        offsets, heights, widths = self._index[:, :3].T
        sizes = heights * widths * channels
        if (sizes <= 0).any() or (offsets < len(head)).any() or (offsets + sizes).max() != len(self._bytes):
            raise ValueError("the pixels are cut off")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        """An image (H, W, C) uint8, read-only: all processes have the same one."""
        offset, height, width = self._index[index, :3].tolist()
        pixels = self._bytes[offset : offset + height * width * self.channels]
        return np.asarray(pixels).reshape(height, width, self.channels)

    def original_size(self, index: int) -> Size:
        """Height and width of the image before it was reduced, in pixels."""
        height, width = self._index[index, 3:].tolist()
        return height, width

    @property
    def num_bytes(self) -> int:
        """The size of the file."""
        return len(self._bytes)

    @property
    def address(self) -> str:
        """A path by which other processes of this user can open the file. Without a name, it exists as long as this object."""
        has_name = os.fstat(self._descriptor).st_nlink > 0
        return self.path if has_name else f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def __reduce__(self) -> tuple[Any, ...]:
        return PixelFile, (self.address, self.count, self.channels)


def write_pixels(descriptor: int, count: int, read: Callable[[int], tuple[np.ndarray, Size]], what: str) -> None:
    """Write the images (H, W, C) uint8 that `read` gives for 0, …, count − 1, with the sizes of the originals.

    Several threads read. The first error ends it. `what` names the images in the progress bar.
    """
    from rich.progress import track

    from regulo.core.console import CONSOLE

    index, end, lock = np.zeros((count, FIELDS), np.int64), count * FIELDS * 8, threading.Lock()

    def copy(i: int) -> None:
        nonlocal end
        pixels, original = read(i)
        with lock:
            offset, end = end, end + pixels.nbytes
        index[i] = offset, *pixels.shape[:2], *original
        _write(descriptor, np.ascontiguousarray(pixels).reshape(-1).data, offset)

    with ThreadPoolExecutor(reader_threads()) as pool:
        steps = pool.map(copy, range(count))
        for _ in track(steps, f"decoding {what}", count, transient=True, disable=count < MIN_FOR_PROGRESS, console=CONSOLE):
            pass
    _write(descriptor, index.reshape(-1).view(np.uint8).data, 0)  # last: without it, the file is not whole


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
