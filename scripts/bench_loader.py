"""How fast images are read: Regulo's loader beside those of timm, torchvision, and OpenCV with albumentations, in turns.

    make bench-loader ARGS="path/to/photos"          a folder of class folders; n = 5 turns
    make bench-loader                                the same on 400 pictures that are made for it
    make bench-loader ARGS="path/to/photos 9"        9 turns

Each loader has one process, which reads the files, cuts a random box, resizes it, flips every second image, and returns batches
of 64 uint8 images (timm: as its own training does). The files are in the memory of the system. An epoch of each warms it up.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from regulo.core import registry
from regulo.core.types import DatasetInfo, Split
from regulo.core.warnings import ignore_harmless_warnings
from regulo.data.base import Splits
from regulo.data.components.datamodule import ImageDataModule
from regulo.data.components.dataset import worker_init
from regulo.data.components.file_images import FileImages
from regulo.data.components.image_io import import_albumentations
from regulo.data.image_folder import ImageFolder

BATCH, SIZES = 64, (224, 64)


def list_files(root: Path) -> list[str]:
    """All JPEG files below a folder."""
    return sorted(str(path) for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))


def open_data(files: list[str], size: int, cache: Literal["off", "ram", "disk"] = "off") -> ImageDataModule:
    """The data as `regulo train` opens them; nothing is cached yet."""
    config = ImageFolder(image_size=size, batch_size=BATCH, num_workers=1, cache=cache)
    info = DatasetInfo(3, size, size, ("a", "b"), (0.5,) * 3, (0.2,) * 3)
    split = Split(FileImages(np.array([os.fsencode(f) for f in files]), 3), np.zeros(len(files), np.int64))
    transforms = registry.get_plugin("regularizer", "augment")().transform([config.resize()], info)
    return ImageDataModule(config, Splits(split, split, split, info), seed=0, train_transforms=transforms)


class Files(Dataset[Any]):
    """Files through a function."""

    def __init__(self, files: list[str], read: Callable[[str], Any]) -> None:
        self.files, self.read = files, read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        return self.read(self.files[index])


def plain_loader(files: list[str], read: Callable[[str], Any]) -> DataLoader[Any]:
    """A loader as people write it."""
    return DataLoader(
        Files(files, read),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=1,
        persistent_workers=True,
        worker_init_fn=worker_init,
    )


class ReadWithTorchvision:
    """Pillow and torchvision's transforms, as in its training reference."""

    def __init__(self, size: int) -> None:
        from torchvision.transforms import v2

        self.transform = v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(), v2.PILToTensor()])

    def __call__(self, file: str) -> Any:
        """An image (C, H, W) uint8."""
        with Image.open(file) as image:
            return self.transform(image.convert("RGB"))


class ReadWithOpenCV:
    """OpenCV and albumentations, without antialiasing."""

    def __init__(self, size: int) -> None:
        A = import_albumentations()
        self.transform = A.Compose([A.RandomResizedCrop((size, size)), A.HorizontalFlip()])

    def __call__(self, file: str) -> Any:
        """An image (C, H, W) uint8."""
        image = cv2.cvtColor(cv2.imread(file), cv2.COLOR_BGR2RGB)
        return torch.from_numpy(np.ascontiguousarray(self.transform(image=image)["image"].transpose(2, 0, 1)))


class ReadWithTimm:
    """timm's transforms of training, without color jitter and random erasing."""

    def __init__(self, size: int) -> None:
        from timm.data.transforms_factory import transforms_imagenet_train

        no_jitter: Any = None
        self.transform = transforms_imagenet_train(size, color_jitter=no_jitter, re_prob=0.0, use_prefetcher=True)

    def __call__(self, file: str) -> Any:
        """An image (C, H, W) uint8."""
        with Image.open(file) as image:
            return torch.as_tensor(self.transform(image.convert("RGB")))


def measure(loader: Iterable[Any]) -> float:
    """Images per second of one epoch; the first batch, for which the process starts, is not counted."""
    count, start = 0, 0.0
    for batch in loader:
        if not start:
            start = time.perf_counter()
        else:
            count += len(batch[0]) if isinstance(batch, tuple) else len(batch)
    return count / (time.perf_counter() - start)


def measure_in_turns(loaders: Mapping[str, Iterable[Any]], turns: int) -> dict[str, list[float]]:
    """Images per second of each loader, one after the other in each turn; a first turn warms them up."""
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(turns + 1):
        for name, loader in loaders.items():
            rate = measure(loader)
            if turn:
                rates[name].append(rate)
    return rates


def make_photos(folder: Path, count: int = 400) -> None:
    """Pictures of 500 × 375 pixels and about 40 KB."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), "uint8")).resize((500, 375), Image.Resampling.BICUBIC)
        noise = rng.normal(0, 9, (375, 500, 3))
        Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype("uint8")).save(folder / f"{i}.jpg", quality=85)


def main() -> None:
    """Print the rate of each loader, and that of Regulo relative to it."""
    ignore_harmless_warnings()
    torch.set_num_threads(1)
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory() as folder:
        root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        if len(sys.argv) < 2:
            make_photos(root)
        files = list_files(root)
        if len(files) < 2 * BATCH:
            sys.exit(f"{root} has {len(files)} JPEG files; {2 * BATCH} are needed")
        print(f"{len(files)} files, {sum(os.path.getsize(f) for f in files) / len(files) / 1000:.0f} KB each; n = {turns} turns")
        for size in SIZES:
            loaders = {
                "regulo": open_data(files, size).train_dataloader(),
                "OpenCV + albumentations": plain_loader(files, ReadWithOpenCV(size)),
                "torchvision": plain_loader(files, ReadWithTorchvision(size)),
                "timm": plain_loader(files, ReadWithTimm(size)),
            }
            rates = measure_in_turns(loaders, turns)
            for name, values in rates.items():
                ratios = [ours / theirs for ours, theirs in zip(rates["regulo"], values, strict=True)]
                spread = f"{min(values):,.0f} to {max(values):,.0f}"
                print(
                    f"{size:4} pixels  {name:24} {statistics.median(values):7,.0f} images/s ({spread})"
                    f"   regulo / this: {statistics.median(ratios):.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
