"""What a large data set costs before and beside the arithmetic: a folder of many linked pictures, made for it and removed.

    make bench-scale                                      1.28 million images of 1,000 classes, as many as ImageNet has
    make bench-scale ARGS="images=128000 classes=100"     a smaller folder

The pictures are links to one small JPEG file per class, so nothing here says how fast photographs are decoded:
`make bench-loader` does.
"""

import gc
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from regulo.core.metrics.components.running import EvalMetrics, TrainMetrics
from regulo.core.paths import PathStr
from regulo.core.types import soft_targets
from regulo.core.warnings import ignore_harmless_warnings
from regulo.data.components.datamodule import ImageDataModule
from regulo.data.components.sampler import TrainBatchSampler
from regulo.data.image_folder import ImageFolder

BATCH, EPOCHS, BATCHES = 256, 5, 8
"""images of a batch; epochs, and batches of each, whose memory is watched"""


def make_folder(root: Path, images: int, classes: int) -> None:
    """Class folders of links, as many in each."""
    noise = np.random.default_rng(0)
    for label in range(classes):
        folder = root / f"n{label:08}"
        folder.mkdir()
        first = str(folder / f"{folder.name}_0.jpeg")
        Image.fromarray(noise.integers(0, 256, (32, 32, 3), "uint8")).save(first)
        for number in range(1, images // classes):
            os.link(first, f"{folder}/{folder.name}_{number}.jpeg")


def memory(pid: int | str = "self") -> float:
    """MB that a process has for itself, without what it shares with others; Linux only."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1000


@contextmanager
def measure(title: str, per: int = 1, unit: str = "s") -> Iterator[None]:
    """Print the time inside, and its CPU time; of one image if `per` is their number."""
    gc.collect()
    start, cpu = time.perf_counter(), time.process_time()
    yield
    factor = (1e6 if unit == "µs" else 1) / per
    seconds, cpu_seconds = factor * (time.perf_counter() - start), factor * (time.process_time() - cpu)
    print(f"{title:58} {seconds:8.2f} {unit}   (CPU {cpu_seconds:.2f} {unit})", flush=True)


def measure_start(root: Path) -> ImageDataModule:
    """List, split and identify the files, as a run with `data.verify_images=none` does."""
    config = ImageFolder(root=PathStr(str(root)), verify_images="none", image_size=32, batch_size=BATCH, num_workers=1)
    before = memory()
    with measure("start: list, hold out, digest"):
        splits = config.splits()
        data = ImageDataModule(config, splits, seed=0, train_transforms=[config.resize()])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{'start: memory that it adds':58} {memory() - before:8.0f} MB   (peak of the process: {peak:.0f} MB)", flush=True)
    return data


def measure_order(data: ImageDataModule) -> None:
    """The order of an epoch, up to its first batch, and what all batches of keys cost."""
    n = len(data.train_dataset)
    sampler = TrainBatchSampler(n, BATCH, 0, 0, 1, data.sequence)
    before = memory()
    with measure("order of an epoch: to the first batch"):
        batches = iter(sampler)
        next(batches)
    print(f"{'order of an epoch: memory':58} {memory() - before:8.0f} MB", flush=True)
    with measure("order of an epoch: keys, per image", n, "µs"):
        for _ in batches:
            pass


def measure_worker_memory(data: ImageDataModule) -> None:
    """The memory of a loader process after each epoch, of which it reads the first batches only."""
    loader = data.train_dataloader()
    sizes = []
    for epoch in range(EPOCHS):
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        batches = iter(loader)
        for _ in range(BATCHES):
            next(batches)
        sizes.append(memory(batches._workers[0].pid))  # type: ignore[attr-defined]
    print(f"{f'memory of a loader process after each of {EPOCHS} epochs':58} {' '.join(f'{size:.0f}' for size in sizes)} MB")


def measure_images(data: ImageDataModule) -> None:
    """What each image costs beside its decoding and the network."""
    dataset = data.train_dataset
    with measure("loader process: read and resize 32 × 32, per image", 4 * BATCH, "µs"):
        for batch in range(4):
            dataset.__getitems__([(0, index, 0) for index in range(batch * BATCH, (batch + 1) * BATCH)])


def measure_metrics(classes: int) -> None:
    """What metrics cost for each image, as a mean over a hundred batches."""
    logits, labels = torch.randn(BATCH, classes), torch.randint(classes, (BATCH,))
    targets = soft_targets(labels, classes)
    evaluation, training = EvalMetrics(classes, torch.device("cpu")), TrainMetrics(torch.device("cpu"))
    parts = {"data": torch.ones(())}
    for title, update in (
        ("training", lambda: training.update(parts, logits, targets)),
        ("validation", lambda: evaluation.update(logits, labels)),
    ):
        update()
        with measure(f"metrics of {title}, {classes:,} classes, per image", 100 * BATCH, "µs"):
            for _ in range(100):
                update()
    with measure(f"scores of an epoch from the sums, {classes:,} classes"):
        evaluation.compute()


def main() -> None:
    """Make the folder, and print what everything costs."""
    ignore_harmless_warnings()
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    images, classes = int(words.get("images", 1_280_000)), int(words.get("classes", 1000))
    torch.set_num_threads(1)
    print(f"{images:,} images, {classes:,} classes, torch {torch.__version__}, 1 thread")
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), images, classes)
        data = measure_start(Path(folder))
        measure_order(data)
        measure_worker_memory(data)
        measure_images(data)
    for k in (10, 1000):
        measure_metrics(k)


if __name__ == "__main__":
    main()
