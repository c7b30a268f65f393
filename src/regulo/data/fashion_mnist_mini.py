"""5,000 + 1,000 + 5,000 real Fashion-MNIST images (Xiao et al., 2017, arXiv:1708.07747) that are part of the package.

`docs/data/fashion_mnist_mini.md` is its data card; `scripts/build_fashion_mnist_mini.py` rebuilds the file byte for byte.
"""

import bz2
import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from regulo.core.paths import expand_path
from regulo.core.types import DatasetInfo, Split
from regulo.data.base import DatasetConfig, Splits, channel_mean_std, data_error

FILE = Path(__file__).parent / "assets" / "fashion_mnist_mini.bz2"
SHA256 = "7b10f8ea93b7b55b25224ce08a0730be78b14b59df1a5fd9d816bfe50ea5bbe4"
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SIZES = {"train": 5000, "val": 1000, "test": 5000}


class FashionMnistMini(DatasetConfig):
    """Gray 28 × 28 images of 10 kinds of clothing, class-balanced; validation comes from the official training set."""

    reference: ClassVar[str] = "arXiv:1708.07747"

    def splits(self) -> Splits:
        path = (expand_path(self.root) if self.root else FILE.parent) / FILE.name
        if not path.is_file():
            raise data_error(
                "data.root", f"there is no {FILE.name} in {path.parent}", "leave data.root out: it is in the package"
            )
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise data_error(
                "data.root", f"{path} is damaged: its checksum differs", "python scripts/build_fashion_mnist_mini.py"
            )
        parts = unpack(content)
        mean, std = channel_mean_std(np.asarray(parts["train"].images))
        return Splits(parts["train"], parts["val"], parts["test"], DatasetInfo(1, 28, 28, CLASSES, mean, std))


def pack(splits: dict[str, Split]) -> bytes:
    """One bzip2 stream (its encoder has not changed in decades) of all images, then all labels, in the order of SIZES."""
    arrays = [splits[name].images for name in SIZES] + [splits[name].labels.astype(np.uint8) for name in SIZES]
    return bz2.compress(b"".join(np.asarray(a).tobytes() for a in arrays), 9)


def unpack(content: bytes) -> dict[str, Split]:
    """The splits by name: images (N, 28, 28, 1) uint8 and labels (N,) int64."""
    raw = np.frombuffer(bz2.decompress(content), np.uint8)
    total = sum(SIZES.values())
    images, labels = raw[: total * 784].reshape(total, 28, 28, 1), raw[total * 784 :].astype(np.int64)
    ends = np.cumsum(list(SIZES.values()))
    return {n: Split(images[e - s : e], labels[e - s : e]) for (n, s), e in zip(SIZES.items(), ends, strict=True)}
