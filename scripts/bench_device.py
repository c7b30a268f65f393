"""What `data.device` gains: images per second with the images on the device and from the loader, in turns.

    .venv/bin/python scripts/bench_device.py                       the loader alone, then the default run; 3 turns
    .venv/bin/python scripts/bench_device.py 5 model=vit_tiny      5 turns of another run

The loader alone runs in one process with one thread (`data.num_workers=0`). A run trains 4 epochs; their validation does not
count. CPU seconds are those of the process and of its loader processes.
"""

import contextlib
import io
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bench import prepare
from bench_loader import measure

from regulo.config import compose
from regulo.core.warnings import ignore_harmless_warnings
from regulo.tracking.records import read_result
from regulo.tracking.run_dir import RunFolder
from regulo.training.build import build_components
from regulo.training.train import train

WAYS = ("device", "loader")
TURNS, EPOCHS = 3, 4


def cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def loader_speed(overrides: list[str]) -> Callable[[], float]:
    """A function that returns the images/s of an epoch of the training loader alone, with one thread."""
    loader = build_components(compose.load_config([*overrides, "data.num_workers=0"])).data.train_dataloader()
    torch.set_num_threads(1)
    return lambda: measure(loader)


def run_speed(overrides: list[str]) -> Callable[[], float]:
    """A function that returns the images/s of a whole run, without its validation."""

    def measure_run() -> float:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            train([*overrides, f"trainer.max_epochs={EPOCHS}", f"run_dir={folder}/run"])
            return float(read_result(RunFolder(Path(folder) / "run"))["images_per_second"])

    return measure_run


def compare(what: str, ways: dict[str, Callable[[], float]], turns: int) -> None:
    """Print the rates, and the ratio of each turn."""
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns):
        for way, measure_way in ways.items():
            start, cpu_start = time.perf_counter(), cpu_seconds()
            rates[way].append(measure_way())
            seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu_start
            note = f"{seconds:.1f} s, of which the processor worked {cpu:.1f} s"
            print(f"{what}, turn {turn + 1}, {way:6}: {rates[way][-1]:9,.0f} images/s ({note})", flush=True)
    ratios = [one / other for one, other in zip(*rates.values(), strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"{what}: device / loader, median {statistics.median(ratios):.2f} ({spread}, n = {turns})", flush=True)


def main() -> None:
    """Print both comparisons."""
    ignore_harmless_warnings()
    words = sys.argv[1:]
    turns = int(words.pop(0)) if words and words[0].isdigit() else TURNS
    threads = torch.get_num_threads()
    compare("loader alone", {way: loader_speed([*words, f"data.device={way}"]) for way in WAYS}, turns)
    torch.set_num_threads(threads)
    trainer = prepare(words).trainer  # what is fastest is measured once, for both ways
    overrides = [*words, f"trainer.precision={trainer.precision}", f"trainer.memory_format={trainer.memory_format}"]
    print(f"{trainer.precision}, {trainer.memory_format}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    compare("run", {way: run_speed([*overrides, f"data.device={way}"]) for way in WAYS}, turns)


if __name__ == "__main__":
    main()
