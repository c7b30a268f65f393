"""The files of a data set in class folders: which there are, and in which split."""

from pathlib import Path

from regulo.core.errors import is_printable, nearest
from regulo.data.base import data_error
from regulo.data.components.image_files import ImageLister
from regulo.data.components.labeled_files import Files
from regulo.data.components.split_folders import check_class_folder, check_class_names, find_split_folders


def list_splits(root: Path, lister: ImageLister) -> dict[str, Files]:
    """The files of each split that has a folder, by class. Raises InputError."""
    folders = find_split_folders(root, lister)
    classes = class_names(folders["train"], lister)
    listing = {part: list_classes(root, folder, classes, lister) for part, folder in folders.items()}
    for part, files in listing.items():
        if not any(files.values()):
            hint = "; ".join(lister.omissions.notes()) or "one sub-folder per class, its images inside"
            raise data_error("data.root", f"there is no image below {folders[part]}", hint)
    return listing


def class_names(folder: Path, lister: ImageLister) -> list[str]:
    """Names of the class folders, sorted. Raises InputError if there are fewer than two, or if a name cannot be shown."""
    names = lister.list_folders(folder)
    if len(names) < 2:
        what = f"{folder} has {len(names)} class folders, and a classifier needs at least two"
        inner = folder / names[0] if names else None
        if inner and len(lister.list_folders(inner)) > 1:
            raise data_error("data.root", what, f"data.root={inner}?")
        raise data_error("data.root", what, "one sub-folder per class, its images inside")
    check_class_names(folder, names)
    for name in names:
        if not is_printable(name):
            raise data_error("data.root", f"the class folder {name!r} has no readable name", "rename it")
    return names


def list_classes(root: Path, folder: Path, classes: list[str], lister: ImageLister) -> Files:
    """The images below the class folders of a split. Raises InputError for a folder that is not in `classes`."""
    names = lister.list_folders(folder)
    unlabelled = lister.count_images(folder)
    predict = "images without labels can be predicted, from another folder: regulo predict RUN FOLDER"
    if not names and unlabelled:
        raise data_error("data.root", f"{folder} has {unlabelled:,} images and no class folders", f"move it away; {predict}")
    if unknown := [name for name in names if name not in classes]:
        what = f"{folder} has the class {unknown[0]!r}, which train does not have"
        near = nearest(unknown[0], classes)
        raise data_error("data.root", what, f"{near}; {predict}" if near else predict)
    prefix = folder.relative_to(root).as_posix().removeprefix(".")
    prefix = f"{prefix}/" if prefix else ""
    files = {name: lister.list_folder(folder / name) if name in names else [] for name in classes}
    for name, paths in files.items():
        check_class_folder(folder / name, paths)
    return {name: [f"{prefix}{name}/{path}" for path in paths] for name, paths in files.items()}
