"""Any table of image files: CSV or Parquet, with the columns path and label, and perhaps split and group."""

from pathlib import Path
from typing import ClassVar

from regulo.core.errors import nearest
from regulo.core.paths import PathStr, expand_path
from regulo.data.base import data_error
from regulo.data.components.file_dataset import FileDatasetConfig
from regulo.data.components.labeled_files import LabeledFiles
from regulo.data.components.labeled_table import list_table


class ImageTable(FileDatasetConfig):
    """Images that a table names, with their labels. docs/images.md says what it may look like."""

    reference: ClassVar[str] = "your files"
    source_key: ClassVar[str] = "data.table"

    table: PathStr | None = None
    """the table, CSV or Parquet; required"""
    root: PathStr | None = None
    """folder that the paths in the table are relative to; null: that of the table"""

    def list_labeled_files(self) -> LabeledFiles:
        table, root = self._table_file(), self.root_folder()
        if not table.is_file():
            files = [p.name for p in table.parent.iterdir() if p.is_file()] if table.parent.is_dir() else []
            raise data_error("data.table", f"there is no file {table}", nearest(table.name, files) if len(files) <= 1000 else "")
        return list_table(table, root)

    def root_folder(self) -> Path:
        root = expand_path(self.root) if self.root else self._table_file().parent
        if not root.is_dir():
            raise data_error("data.root", f"there is no folder {root}", "the folder that the paths in the table are relative to")
        return root

    def _table_file(self) -> Path:
        if self.table is None:
            raise data_error("data.table", "image_table needs the table of your images", "data.table=path/to/table.csv")
        return expand_path(self.table)

    def describe_source(self) -> str:
        return f"{self.name} {self.table}" + (f" in {self.root}" if self.root else "")
