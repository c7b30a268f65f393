"""The locations of the YAML files of the configuration. Imports nothing heavy, so that shell completion is fast."""

from pathlib import Path

from regulo.core.errors import InputError, Problem
from regulo.core.extensions import CONFIGS, extension_folders
from regulo.core.paths import redact_home

PACKAGE = Path(__file__).parents[1]


def config_dir() -> Path:
    """The folder configs/: next to src/ in a checkout, inside the package in a wheel."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parents[1] / "configs"


def config_dirs() -> list[Path]:
    """The folder configs/, and those of extensions."""
    return [config_dir(), *extension_folders(CONFIGS)]


def list_options(group: str) -> dict[str, Path]:
    """The options of a config group and their files, sorted by name. Raises InputError if a name exists twice."""
    files: dict[str, Path] = {}
    for file in (file for folder in config_dirs() for file in (folder / group).glob("*.yaml")):
        other = files.setdefault(file.stem, file)
        if other != file:
            raise InputError(Problem("extensions", redact_home(f"{other} and {file} have the same name"), "rename one of them"))
    return dict(sorted(files.items()))


def list_groups() -> dict[str, list[str]]:
    """The config groups and their options, without `study`, whose files do not describe a run. Raises InputError."""
    groups = {folder.name for configs in config_dirs() for folder in configs.iterdir() if folder.is_dir()}
    return {group: list(list_options(group)) for group in sorted(groups - {"study"})}


def find_option(group: str, option: str) -> Path:
    """The YAML file of an option; without an extension that has it, the path that it would have in configs/."""
    files = (folder / group / f"{option}.yaml" for folder in config_dirs())
    return next((file for file in files if file.is_file()), config_dir() / group / f"{option}.yaml")


def display_name(file: Path) -> str:
    """The path of a YAML file for messages: `configs/…`, or the whole path if it is in an extension."""
    folder = config_dir()
    return f"configs/{file.relative_to(folder).as_posix()}" if file.is_relative_to(folder) else redact_home(str(file))
