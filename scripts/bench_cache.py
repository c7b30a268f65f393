"""What `data.cache` gains and changes: images per second of the loader, and crops cut from kept copies beside those of the files.

    .venv/bin/python scripts/bench_cache.py path/to/photos       a folder of JPEG files
    .venv/bin/python scripts/bench_cache.py                      400 pictures that are made for it

One loader process, random boxes and flips, batches of 64. n = 5 turns, one after the other. *Sharpness* is the variance of the
Laplacian, relative to that of the crops from the files.
"""

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import cv2
import numpy as np
import torch
from bench_loader import BATCH, list_files, make_photos, measure

from regulo.core import registry
from regulo.core.paths import CACHE_VARIABLE
from regulo.core.types import DatasetInfo, Split
from regulo.core.warnings import ignore_harmless_warnings
from regulo.data.base import Splits
from regulo.data.components import image_cache
from regulo.data.components.datamodule import ImageDataModule
from regulo.data.components.file_images import FileImages
from regulo.data.image_folder import ImageFolder

TURNS, SIZES, FACTORS = 5, (64, 224), (1.5, 2, 3, 4)


def open_data(files: list[str], size: int, place: str) -> tuple[ImageDataModule, str]:
    """The data as `regulo train` opens them, and what is kept."""
    config = ImageFolder(image_size=size, batch_size=BATCH, num_workers=1, cache=place)  # type: ignore[arg-type]
    info = DatasetInfo(3, size, size, ("a", "b"), (0.5,) * 3, (0.2,) * 3)
    split = Split(FileImages(np.array([os.fsencode(f) for f in files]), 3), np.zeros(len(files), np.int64))
    transforms = registry.get_plugin("regularizer", "augment")().transform([config.resize()], info)
    data = ImageDataModule(config, Splits(split, split, split, info), seed=0, train_transforms=transforms)
    return data, data.cache_images()


def compare(files: list[str], size: int, factor: float) -> tuple[float, float]:
    """Mean difference (of 255) and sharpness of crops from copies, whose shorter side is `factor` times that of the crops."""
    data, _ = open_data(files, size, "off")
    images, resize = data.train_dataset.split.images, data.train_dataset.resize
    assert isinstance(images, FileImages)
    assert resize is not None
    reduce = image_cache.Reduction(round(factor * size), resize.interpolation)
    exact = dataclasses.replace(resize, may_reduce=False)
    differences, sharpness = [], []
    for index in range(len(images)):
        whole = images.read_whole(index)
        box = resize.box(whole.shape[:2], Random(index))
        copy = reduce(whole)
        pair = [resize.resize(copy, image_cache.scale_box(box, whole.shape[:2], copy.shape[:2])), exact.resize(whole, box)]
        differences.append(np.abs(pair[0].astype(int) - pair[1]).mean())
        sharpness.append([cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for image in pair])
    kept, direct = np.array(sharpness).mean(0)
    return float(np.mean(differences)), float(kept / direct)


def main() -> None:
    """Print both tables."""
    ignore_harmless_warnings()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = f"{folder}/cache"
        root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder)
        if len(sys.argv) < 2:
            make_photos(root)
        files = list_files(root)
        for size in SIZES:
            for factor in FACTORS:
                difference, sharpness = compare(files, size, factor)
                row = f"copies of {factor} ×: mean difference {difference:.1f}, sharpness {sharpness:.2f}"
                print(f"{size:4} pixels, {row}", flush=True)
            loaders = {}
            for place in ("off", "disk", "ram"):
                start = time.perf_counter()
                data, note = open_data(files, size, place)
                print(f"{place}: {time.perf_counter() - start:.1f} s {note.partition(';')[0]}")
                loaders[place] = data.train_dataloader()
            rates: dict[str, list[float]] = {place: [] for place in loaders}
            for turn in range(TURNS + 1):
                for place, loader in loaders.items():
                    rate = measure(loader)
                    if turn:  # the first one warms up
                        rates[place].append(rate)
            for place, values in rates.items():
                spread = f"{min(values):,.0f} to {max(values):,.0f}"
                print(f"{size:4} pixels, cache={place:4} {statistics.median(values):7,.0f} images/s ({spread})", flush=True)


if __name__ == "__main__":
    main()
