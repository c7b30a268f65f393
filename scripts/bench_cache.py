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
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any, Literal

import cv2
import numpy as np
import torch
from bench_loader import list_files, make_photos, measure_in_turns, open_data

from regulo.core.paths import CACHE_VARIABLE
from regulo.core.warnings import ignore_harmless_warnings
from regulo.data.base import CachePlace
from regulo.data.components import image_cache
from regulo.data.components.dataset import BatchedImages
from regulo.data.components.file_images import FileImages

TURNS, SIZES, FACTORS = 5, (64, 224), (1.5, 2, 3, 4)
PLACES: tuple[CachePlace | Literal["off"], ...] = ("off", "disk", "ram")


def compare(files: list[str], size: int, factor: float) -> tuple[float, float]:
    """Mean difference (of 255) and sharpness of crops from copies, whose shorter side is `factor` times that of the crops."""
    data = open_data(files, size)
    dataset = data.train_dataset
    assert isinstance(dataset, BatchedImages)
    images, resize = dataset.split.images, dataset.resize
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
            loaders: dict[str, Iterable[Any]] = {}
            for place in PLACES:
                start = time.perf_counter()
                data = open_data(files, size, place)
                note = data.cache_images()
                print(f"{place}: {time.perf_counter() - start:.1f} s {note.partition(';')[0]}")
                loaders[place] = data.train_dataloader()
            rates = measure_in_turns(loaders, TURNS)
            for name, values in rates.items():
                spread = f"{min(values):,.0f} to {max(values):,.0f}"
                print(f"{size:4} pixels, cache={name:4} {statistics.median(values):7,.0f} images/s ({spread})", flush=True)


if __name__ == "__main__":
    main()
