"""Rebuild the data set of the package, byte for byte, from the original IDX files.

    python scripts/build_fashion_mnist_mini.py [FOLDER_WITH_IDX_FILES] [OUTPUT]

The rule: of every class, in the order of the official files, the first 500 training images are `train`, the next 100 are
`val`, and the first 500 test images are `test`. Within a split, the official order is kept. Nothing is random.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

from regulo.core.types import Split
from regulo.data import fashion_mnist, fashion_mnist_mini


def select_per_class(labels: np.ndarray, first: int, last: int) -> np.ndarray:
    """Indices of images number `first` to `last` (exclusive) of every class, in increasing order."""
    return np.sort(np.concatenate([np.flatnonzero(labels == k)[first:last] for k in range(10)]))


def build(folder: Path) -> bytes:
    """The content of the data file, from the folder of IDX files."""
    train, test = (Split(fashion_mnist.read_images(folder, p), fashion_mnist.read_labels(folder, p)) for p in ("train", "t10k"))
    return fashion_mnist_mini.pack(
        {
            "train": train.select(select_per_class(train.labels, 0, 500)),
            "val": train.select(select_per_class(train.labels, 500, 600)),
            "test": test.select(select_per_class(test.labels, 0, 500)),
        }
    )


def main() -> None:
    """Build, write and print the checksum."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else fashion_mnist.DEBIAN
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else fashion_mnist_mini.FILE
    content = build(folder)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_suffix(".part")
    temporary.write_bytes(content)
    temporary.replace(output)
    print(f"{output}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
