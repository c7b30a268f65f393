"""Images that lie in files, each read when it is needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import numpy as np

from regulo.core.errors import UnreadableImageError
from regulo.core.resize import Resize
from regulo.data.components.image_check import describe_error
from regulo.data.components.image_io import PixelRange, read_image, read_resized, read_stored_size


class FileImages:
    """A sequence of images.

    Paths are stored in one array of bytes: a million of them reach a loader process as fast as one.
    """

    def __init__(self, paths: np.ndarray, channels: int, pixel_range: PixelRange | None = None) -> None:
        self.paths, self.channels, self.pixel_range = paths, channels, pixel_range

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | np.ndarray) -> "np.ndarray | FileImages":
        if isinstance(index, np.ndarray):
            return FileImages(self.paths[index], self.channels, self.pixel_range)
        return self.read_whole(index)

    def read_whole(self, index: int) -> np.ndarray:
        """An image (H, W, C) uint8, upright."""
        return self._decode(index, None, Random())

    def stored_size(self, index: int) -> tuple[int, int]:
        """Height and width of an image as it is stored, perhaps not upright. Only its header is read."""
        with report_unreadable(self.paths[index]):
            return read_stored_size(self.paths[index])

    def read(self, index: int, resize: Resize, random: Random) -> np.ndarray:
        """A box of an image, resized: (height, width, C) uint8. Faster than to index and to resize."""
        return self._decode(index, resize, random)

    def _decode(self, index: int, resize: Resize | None, random: Random) -> np.ndarray:
        raw = self.paths[index]
        with report_unreadable(raw):
            if resize is None:
                return read_image(raw, self.channels, self.pixel_range)
            return read_resized(raw, self.channels, self.pixel_range, resize, random)


@contextmanager
def report_unreadable(raw: bytes) -> Iterator[None]:
    """Within: whatever is raised is raised as UnreadableImageError, which names the file."""
    try:
        yield
    except MemoryError:
        what = f"no memory is left to decode {os.fsdecode(raw)!r}"
        raise UnreadableImageError(what) from None  # whose message names the file, unlike that of a full memory
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise UnreadableImageError(describe_error(raw, error)) from error
