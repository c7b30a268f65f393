"""Fast reading of ordinary JPEG files by OpenCV, which can decode them at a half, a quarter or an eighth of their size.

Whatever is not ordinary (CMYK, 12 bits, a file that ends too early) is left to Pillow, which reads it or says what is wrong.
"""

import struct
from typing import NamedTuple

import numpy as np

from regulo.core.resize import Box, Resize, resize_image

OVERSAMPLING = 1.5
"""pixels that are decoded for each pixel of the result, along each side, at least: with fewer, images become visibly softer"""
LARGEST = 89_478_485
"""pixels above which Pillow warns of a decompression bomb"""
FRAMES = frozenset((0xC0, 0xC1, 0xC2))
"""markers of a frame that is baseline, extended sequential or progressive"""
OTHER_FRAMES = frozenset((0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
"""lossless, hierarchical and arithmetic ones"""


TRANSPOSED, FLIPPED_VERTICALLY, FLIPPED_HORIZONTALLY = {5, 6, 7, 8}, {3, 4, 7, 8}, {2, 3, 6, 7}
"""orientations: the upright picture is the stored one after these changes, in this order"""


class JpegHeader(NamedTuple):
    """What is needed to choose a box before decoding."""

    height: int
    width: int
    """of the picture as it is stored"""
    orientation: int
    """of EXIF, 1 to 8"""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width of the picture as it is seen."""
        return (self.width, self.height) if self.orientation in TRANSPOSED else (self.height, self.width)


def read_header(content: bytes) -> JpegHeader | None:
    """The header of an ordinary, complete JPEG of 8 bits in gray or color; None for any other content."""
    if content[:2] != b"\xff\xd8":
        return None
    position, frame, orientation, is_in_xmp = 2, None, None, False
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker, length = content[position + 1], int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : position + 2 + length]
        if marker in FRAMES and len(segment) >= 6:
            precision, height, width, components = struct.unpack(">BHHB", segment[:6])
            if precision != 8 or components not in (1, 3) or not 0 < height * width <= LARGEST:
                return None
            frame = height, width
        elif marker == 0xE1 and segment[:6] == b"Exif\0\0":
            is_valid, orientation = read_orientation(segment[6:])
            if not is_valid:
                return None
        elif marker == 0xE1:
            is_in_xmp |= b"tiff:Orientation" in segment
        elif marker == 0xDA:  # the pixels follow, in which the end marker can only be the end
            is_complete = content.rfind(b"\xff\xd9", position) >= 0
            is_known = orientation is not None or not is_in_xmp
            return JpegHeader(*frame, orientation or 1) if frame and is_complete and is_known else None
        elif not 0xC0 <= marker <= 0xFE or marker in OTHER_FRAMES or length < 2:
            return None
        position += 2 + length
    return None


def read_orientation(exif: bytes) -> tuple[bool, int | None]:
    """Whether a block of EXIF data can be read, and the orientation in it: 1 to 8, None if there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return False, None
    (start,) = struct.unpack(f"{order}I", exif[4:8])
    if start + 2 > len(exif):
        return False, None
    (count,) = struct.unpack(f"{order}H", exif[start : start + 2])
    for offset in range(start + 2, start + 2 + 12 * count, 12):
        entry = exif[offset : offset + 12]
        if len(entry) < 12:
            return False, None
        tag, kind, values, value = struct.unpack(f"{order}HHIH", entry[:10])
        if tag == 0x0112:
            return kind == 3 and values == 1, value if 1 <= value <= 8 else 1  # as Pillow takes any other number
    return True, None


def decode_box(content: bytes, header: JpegHeader, box: Box, resize: Resize, channels: int) -> np.ndarray | None:
    """A box of the upright picture, resized: (height, width, channels) uint8. None if OpenCV cannot decode the file."""
    import cv2

    is_transposed = header.orientation in TRANSPOSED
    height, width = (resize.width, resize.height) if is_transposed else (resize.height, resize.width)
    top, left, box_height, box_width = _stored_box(box, header)
    scales = (8, 4, 2) if resize.may_reduce else ()
    enough = (s for s in scales if box_height >= s * OVERSAMPLING * height and box_width >= s * OVERSAMPLING * width)
    scale = next(enough, 1)
    color = "GRAYSCALE" if channels == 1 else "COLOR"
    flags = getattr(cv2, f"IMREAD_REDUCED_{color}_{scale}" if scale > 1 else f"IMREAD_{color}") | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        return None
    if image is None:
        return None
    bottom, right = -(-(top + box_height) // scale), -(-(left + box_width) // scale)  # whole pixels of the smaller picture
    part = image.reshape(*image.shape[:2], channels)[top // scale : bottom, left // scale : right]
    result = resize_image(part, height, width, resize.interpolation)
    if channels == 3:
        result = cv2.cvtColor(result, cv2.COLOR_BGR2RGB)
    if is_transposed:
        result = result.transpose(1, 0, 2)
    if header.orientation in FLIPPED_VERTICALLY:
        result = result[::-1]
    if header.orientation in FLIPPED_HORIZONTALLY:
        result = result[:, ::-1]
    return np.ascontiguousarray(result)


def _stored_box(box: Box, header: JpegHeader) -> Box:
    """A box of the upright picture in the picture as it is stored."""
    top, left, height, width = box
    upright_height, upright_width = header.upright_size
    if header.orientation in FLIPPED_VERTICALLY:
        top = upright_height - top - height
    if header.orientation in FLIPPED_HORIZONTALLY:
        left = upright_width - left - width
    return Box(left, top, width, height) if header.orientation in TRANSPOSED else Box(top, left, height, width)
