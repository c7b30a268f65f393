"""Extensions outside Regulo: folders with sub-folders such as `regularizers/` and `configs/`, laid out like Regulo's own.

They come from the command line (`extensions=FOLDER`), from the variable REGULO_EXTENSIONS, and from installed packages with an
entry point of the group `regulo.extensions`. Only these are used: no file of a run names a folder whose code is run. Their
modules are imported as `regulo.regularizers.<name>`, as if they were in Regulo, so one registry finds all.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from regulo.core.environment_variables import restore_variables
from regulo.core.errors import InputError, Problem
from regulo.core.paths import expand_path, redact_home

OPTION, VARIABLE, GROUP = "extensions", "REGULO_EXTENSIONS", "regulo.extensions"
"""the word of the command line, the variable of the environment, and the group of entry points"""
PACKAGES = (
    "regulo.regularizers",
    "regulo.models",
    "regulo.data",
    "regulo.optim",
    "regulo.callbacks",
    "regulo.core.metrics",
)
"""the packages to which an extension adds modules, each from its sub-folder with the last part of this name"""
CONFIGS = "configs"


@dataclass(frozen=True)
class Extension:
    """A folder with extensions."""

    name: str
    """the path of the folder with `~` for the home folder, or the name of the installed distribution"""
    version: str
    """of the distribution; empty for a folder"""
    folder: Path

    def files(self) -> list[Path]:
        """Its modules and YAML files, sorted."""
        modules = (file for package in PACKAGES for file in (self.folder / _subfolder(package)).glob("*.py"))
        return [*sorted(modules), *sorted((self.folder / CONFIGS).glob("*/*.yaml"))]

    def digest(self) -> str:
        """The first 16 digits of the SHA-256 of its files and their names."""
        digest = hashlib.sha256()
        for file in self.files():
            content = file.read_bytes()
            digest.update(os.fsencode(f"{file.relative_to(self.folder).as_posix()}\0{len(content)}\0") + content)
        return digest.hexdigest()[:16]

    def __str__(self) -> str:
        """Its name, and what is in it."""
        names: dict[str, list[str]] = {}
        for file in self.files():
            if file.suffix == ".py" and not file.name.startswith("_"):
                names.setdefault(file.parent.name, []).append(file.stem)
        content = "; ".join(f"{folder}: {', '.join(stems)}" for folder, stems in names.items()) or f"only {CONFIGS}"
        return f"{self.name}{f' {self.version}' if self.version else ''} ({content})"


def _subfolder(package: str) -> str:
    return package.rpartition(".")[2]


@contextmanager
def use_extensions(words: Sequence[str]) -> Iterator[list[str]]:
    """Context with the extensions of `extensions=FOLDER` and `extensions=[A,B]`; yields the other words.

    The variable of the environment gets them, so that the processes which a command starts have them, too. Raises InputError.
    """
    before = os.environ.get(VARIABLE)
    folders = [folder for word in words if word.startswith(f"{OPTION}=") for folder in _split(word.partition("=")[2])]
    present = before.split(os.pathsep) if before else []
    added = [str(_check_folder(folder)) for folder in folders]
    with restore_variables(VARIABLE):
        if added:
            os.environ[VARIABLE] = os.pathsep.join(dict.fromkeys((*present, *added)))
        yield [word for word in words if not word.startswith(f"{OPTION}=")]


def list_extensions() -> list[Extension]:
    """The extensions of the variable, then those of installed packages. Runs no code of theirs. Raises InputError."""
    return list(_find_extensions(os.environ.get(VARIABLE, ""), tuple(sys.path)))


def extension_folders(name: str) -> list[Path]:
    """The sub-folders of this name, such as `configs`, of all extensions that have one."""
    return [extension.folder / name for extension in list_extensions() if (extension.folder / name).is_dir()]


def extend_package(package: str) -> ModuleType:
    """The package, imported, with the folders of the extensions in its search path after its own."""
    module = importlib.import_module(package)
    if package in PACKAGES:
        own, *others = module.__path__
        folders = [str(folder) for folder in extension_folders(_subfolder(package))]
        if others != folders:
            _forget_modules(package, set(others) - set(folders))
            module.__path__[:] = [own, *folders]
    return module


def _forget_modules(package: str, folders: set[str]) -> None:
    """Remove the modules that a package has from these folders, so that others of the same name can be imported."""
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{package}.") and os.path.dirname(getattr(module, "__file__", None) or "") in folders:
            del sys.modules[name]


@cache
def _find_extensions(variable: str, search_path: tuple[str, ...]) -> tuple[Extension, ...]:
    """The extensions for a value of the variable, and a search path of Python, on which the installed packages lie."""
    by_folder: dict[Path, Extension] = {}
    for text in filter(None, variable.split(os.pathsep)):
        folder = _check_folder(text)
        by_folder.setdefault(folder, Extension(redact_home(str(folder)), "", folder))
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        distribution = entry.dist
        name, version = (distribution.name, distribution.version) if distribution else (entry.name, "")
        folder = _check_folder(_find_package(entry.module, name), name)
        by_folder.setdefault(folder, Extension(name, version, folder))
    return tuple(by_folder.values())


def _find_package(module: str, distribution: str) -> str:
    """The folder of an installed package. Raises InputError."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if not spec or not spec.submodule_search_locations:
        what = f"{distribution} has the entry point {module!r}, which is no package that is installed"
        raise InputError(Problem(OPTION, what, "install it again, or remove it"))
    return str(next(iter(spec.submodule_search_locations)))


def _split(text: str) -> Iterable[str]:
    return text[1:-1].split(",") if text.startswith("[") and text.endswith("]") else [text]


def _check_folder(text: str, owner: str = "") -> Path:
    """The absolute path of a folder with extensions. Raises InputError if it is none."""
    folder = expand_path(text.strip()).absolute()
    name = redact_home(str(folder)) + (f" of {owner}" if owner else "")
    if not folder.is_dir():
        raise InputError(Problem(OPTION, f"there is no folder {name}"))
    if os.pathsep in str(folder):
        raise InputError(Problem(OPTION, f"{name} has {os.pathsep!r} in its path, which separates folders", "rename it"))
    subfolders = (*map(_subfolder, PACKAGES), CONFIGS)
    if not any((folder / subfolder).is_dir() for subfolder in subfolders):
        what = f"{name} has none of the folders {', '.join(subfolders)}"
        raise InputError(Problem(OPTION, what, "docs/library.md has an example"))
    return folder
