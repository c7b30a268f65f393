"""Which files of a folder are images. Hidden files, other formats and links back into the folder are left out, and counted."""

import functools
import operator
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from regulo.core.errors import InputError, Problem, one_line
from regulo.core.text import format_count

FORMATS = frozenset(
    ("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP")
)
"""Pillow's names of the formats that hold pictures; it opens others, such as PDF and HDF5, that hold something else"""
DECODERS = dict.fromkeys((".heic", ".heif", ".hif"), "pip install pillow-heif")
DECODERS |= {".avif": "install a Pillow that reads AVIF"}
DECODERS |= dict.fromkeys((".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"), "convert them to JPEG or TIFF")
DECODERS |= dict.fromkeys((".jxl", ".dcm", ".psd", ".svg", ".npy", ".exr"), "convert them to PNG or TIFF")
"""endings of pictures that Pillow alone may not read, and what helps"""
HIDDEN_NAMES = frozenset(("@eadir", "__macosx", "__pycache__", "#recycle", "#snapshot", "$recycle.bin", "lost+found"))
HIDDEN_NAMES |= frozenset(("system volume information", "thumbs.db", "desktop.ini"))
"""names (lower case) that a system, and not the user, has written"""


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats of pictures that can be decoded here."""
    from PIL import Image, features

    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        pass
    else:
        register_heif_opener()
    Image.init()
    return tuple(sorted(FORMATS & set(Image.OPEN) - (set() if features.check("avif") else {"AVIF"})))


@functools.cache
def image_extensions() -> frozenset[str]:
    """The file endings (lower case, with the dot) of all pictures that can be decoded here."""
    from PIL import Image

    formats = readable_formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that no user sees: `.name`, `._name`, `@eaDir`, `__MACOSX` and the like."""
    return name.startswith(".") or name.casefold() in HIDDEN_NAMES


@dataclass
class Omissions:
    """The numbers of files that a listing leaves out."""

    hidden: Counter[str] = field(default_factory=Counter)
    """by the name of the hidden folder; hidden files have the key ""."""
    endings: Counter[str] = field(default_factory=Counter)
    """by ending, of files that are no image or cannot be decoded here"""
    linked: list[str] = field(default_factory=list)
    """linked folders that lead back into the data, or to a folder that is already listed"""
    outside: int = 0
    """images that lie in no class folder"""

    def add_file(self, name: str) -> None:
        """Count a file that is no image."""
        self.endings[os.path.splitext(name)[1].lower()] += 1

    def notes(self) -> list[str]:
        """One line for each kind, for people."""
        lines = []
        folders = {name: n for name, n in self.hidden.items() if name}
        if folders:
            lines.append(f"left out: {format_count(sum(folders.values()), 'file')} in hidden folders ({_most_common(folders)})")
        if self.hidden[""]:
            lines.append(f"left out: {format_count(self.hidden[''], 'hidden file')}")
        missing = {ending: n for ending, n in self.endings.items() if ending in DECODERS}
        for ending, n in missing.items():
            lines.append(f"left out: {format_count(n, f'{ending} file')}, which cannot be decoded here ({DECODERS[ending]})")
        others = {ending or "without ending": n for ending, n in self.endings.items() if ending not in missing}
        if others:
            lines.append(f"left out: {format_count(sum(others.values()), 'file')} of other types ({_most_common(others)})")
        if self.outside:
            lines.append(f"left out: {format_count(self.outside, 'image')} outside of the class folders")
        if self.linked:
            what = f"left out: {format_count(len(self.linked), 'linked folder')} that lead to images which are already there"
            lines.append(f"{what} ({self.linked[0]}{', …' if len(self.linked) > 1 else ''})")
        return [one_line(line) for line in lines]


class ImageLister:
    """Lists the images below folders of one data set. A folder that is reached twice, through links, is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.omissions = Omissions()
        self._visited: set[tuple[int, int]] = set()
        self._listed: dict[Path, tuple[list[str], int]] = {}

    def list_folder(self, folder: Path) -> list[str]:
        """The paths of all images below a folder, relative to it, with `/`, sorted by their parts. Raises InputError."""
        paths = list(self._walk(str(folder)))
        is_nested = any("/" in path for path in paths)
        return sorted(paths, key=lambda path: path.split("/")) if is_nested else paths  # entries come sorted, folder by folder

    def list_folders(self, folder: Path) -> list[str]:
        """The names of the folders directly in `folder`, sorted. Raises InputError."""
        return self._list_once(folder)[0]

    def count_images(self, folder: Path) -> int:
        """The number of images directly in `folder`, in no folder of a class. Raises InputError."""
        return self._list_once(folder)[1]

    def _list_once(self, folder: Path) -> tuple[list[str], int]:
        if folder not in self._listed:  # what is left out must be counted once
            names, images = [], 0
            for entry in self._entries(str(folder)):
                if is_folder(entry):
                    names.append(entry.name)
                elif is_image(entry.name):
                    images += 1
                else:
                    self.omissions.add_file(entry.name)
            self.omissions.outside += images
            self._listed[folder] = sorted(names), images
        return self._listed[folder]

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        """What is directly in a folder, sorted, without hidden entries, which are counted."""
        try:
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=operator.attrgetter("name")):
                    if not is_hidden(entry.name):
                        yield entry
                    elif entry.is_dir(follow_symlinks=False):
                        self.omissions.hidden[entry.name] += sum(len(files) for _, _, files in os.walk(entry.path))
                    else:
                        self.omissions.hidden[""] += 1
        except OSError as error:
            hint = "change its permissions, or move it away"
            raise InputError(Problem("data.root", f"cannot list {folder}: {error.strerror}", hint)) from error

    def _walk(self, top: str) -> Iterator[str]:
        folders = deque([(top, "")])  # and no recursion: folders may be nested deeper than Python's calls
        while folders:
            folder, prefix = folders.popleft()
            if not self._visit(folder):
                self.omissions.linked.append(prefix.removesuffix("/") or os.path.basename(folder))
                continue
            for entry in self._entries(folder):
                if is_folder(entry):
                    if entry.is_symlink() and self._leads_back(entry.path):
                        self.omissions.linked.append(f"{prefix}{entry.name}")
                    else:
                        folders.append((entry.path, f"{prefix}{entry.name}/"))
                elif is_image(entry.name):
                    yield f"{prefix}{entry.name}"
                else:
                    self.omissions.add_file(entry.name)

    def _visit(self, folder: str) -> bool:
        """Whether a folder is reached for the first time. One that cannot be opened is: listing it says why."""
        try:
            status = os.stat(folder)
        except OSError:
            return True
        place = status.st_dev, status.st_ino
        is_new = place not in self._visited
        self._visited.add(place)
        return is_new

    def _leads_back(self, link: str) -> bool:
        """Whether a linked folder lies in the data, or the data in it."""
        target = os.path.realpath(link)
        return os.path.commonpath([target, self.root]) in (target, self.root)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one. A link that leads nowhere or to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_image(name: str) -> bool:
    """Whether a file has the ending of a picture that can be decoded here."""
    return name[name.rfind(".") :].lower() in image_extensions()  # in a third of the time of `os.path.splitext`


def _most_common(counts: dict[str, int]) -> str:
    """`.txt 10, .csv 2`: the five most common, and `…` for the others."""
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    return ", ".join(f"{name} {n:,}" for name, n in common) + (", …" if len(counts) > len(common) else "")
