"""Any folder of images: one sub-folder per class, in `train/`, `val/` and `test/`, or in one folder that is split here."""

import dataclasses
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from regulo.core.errors import nearest
from regulo.core.paths import PathStr, expand_path
from regulo.data.base import Splits, data_error
from regulo.data.components.class_folders import list_splits
from regulo.data.components.file_dataset import FileDatasetConfig
from regulo.data.components.groups import check_group_pattern, find_groups
from regulo.data.components.image_files import ImageLister
from regulo.data.components.labeled_files import LabeledFiles, list_paths
from regulo.data.components.split_folders import find_split_folders
from regulo.tracking.records import DataRecord


class ImageFolder(FileDatasetConfig):
    """Class folders of images in any common format. docs/images.md says which files are read, and how."""

    reference: ClassVar[str] = "your files"

    root: PathStr | None = None
    """the folder; required"""
    group_pattern: Annotated[str, AfterValidator(check_group_pattern)] | None = None
    """regular expression that is searched in each path relative to the root. Its group `group`, or else its first one, names the
    patient, the plant or the video that an image belongs to; none of these is in two splits. null: every image stands alone"""

    def list_labeled_files(self) -> LabeledFiles:
        root = self.root_folder()
        lister = ImageLister(root)
        splits = list_splits(root, lister)
        groups = find_groups(self.group_pattern, list_paths(splits)) if self.group_pattern else {}
        return LabeledFiles(root, splits, lister.omissions.notes(), groups)

    def root_folder(self) -> Path:
        if self.root is None:
            raise data_error("data.root", "image_folder needs the folder of your images", "data.root=path/to/images")
        root = expand_path(self.root)
        if not root.is_dir():
            near = nearest(root.name, [p.name for p in root.parent.iterdir() if p.is_dir()]) if root.parent.is_dir() else ""
            raise data_error("data.root", f"there is no folder {root}", near)
        return root

    def restore_splits(self, record: DataRecord | None) -> Splits:
        root = self.root_folder()
        if record is None and len(find_split_folders(root, ImageLister(root))) == 3:
            splits = self.splits()
            note = "this run has no data.json (version 0.1 made it): the images that are there now are used"
            return dataclasses.replace(splits, notes=(*splits.notes, note))
        return super().restore_splits(record)
