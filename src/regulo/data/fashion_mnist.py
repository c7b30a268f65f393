"""Fashion-MNIST (Xiao et al., 2017, arXiv:1708.07747): 60,000 + 10,000 gray 28 × 28 images of clothing."""

import gzip
import hashlib
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from regulo.core.paths import PathStr, expand_path
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import DatasetConfig, Splits, channel_mean_std, data_error, may_download
from regulo.data.components.subsets import stratified_split
from regulo.data.fashion_mnist_mini import CLASSES

SHA256 = {  # of the decompressed files, because packages compress them in different ways
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist


class FashionMnist(DatasetConfig):
    """The whole data set: from `root`, else from Debian's package, else downloaded by torchvision. Checksums are verified."""

    reference: ClassVar[str] = "arXiv:1708.07747"

    root: PathStr | None = PathStr("data")
    """folder with the four IDX files, or to which they are downloaded"""
    val_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """share of the training set that is held out for validation, stratified by class, the same in every run"""

    def splits(self) -> Splits:
        folder = self._folder()
        train = Split(read_images(folder, "train"), read_labels(folder, "train"))
        test = Split(read_images(folder, "t10k"), read_labels(folder, "t10k"))
        train_indices, val_indices = stratified_split(train.labels, self.val_fraction, seed=0)
        train, val = train.select(train_indices), train.select(val_indices)
        mean, std = channel_mean_std(np.asarray(train.images))
        return Splits(train, val, test, DatasetInfo(1, 28, 28, CLASSES, mean, std))

    def _folder(self) -> Path:
        root = expand_path(self.root or "data")
        download_folder = root / "FashionMNIST" / "raw"
        for folder in (root, download_folder, DEBIAN):
            if all((folder / f"{name}.gz").is_file() for name in SHA256):
                return folder
        from torchvision.datasets import FashionMNIST

        try:
            FashionMNIST(str(root), download=may_download())
        except (OSError, RuntimeError) as error:
            what = f"Fashion-MNIST is neither in {root} nor in {DEBIAN} and cannot be downloaded: {error}"
            raise data_error("data.root", what, "apt install dataset-fashion-mnist, or use data=fashion_mnist_mini") from error
        return download_folder


def read_images(folder: Path, part: str) -> np.ndarray:
    """Images (N, 28, 28, 1) uint8 of the part "train" or "t10k". Raises InputError if the file is damaged."""
    return np.frombuffer(_read_verified(folder, f"{part}-images-idx3-ubyte"), np.uint8, offset=16).reshape(-1, 28, 28, 1)


def read_labels(folder: Path, part: str) -> np.ndarray:
    """Labels (N,) int64 of the part "train" or "t10k". Raises InputError if the file is damaged."""
    return np.frombuffer(_read_verified(folder, f"{part}-labels-idx1-ubyte"), np.uint8, offset=8).astype(np.int64)


def _read_verified(folder: Path, name: str) -> bytes:
    path = folder / f"{name}.gz"
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise data_error("data.root", f"{path} cannot be read: {error}", "remove it and run again") from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise data_error("data.root", f"{path} is not the published file: its checksum differs", "remove it and run again")
    return content
