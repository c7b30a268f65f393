"""What the framework costs: `regulo train` beside other ways to write the same training, in turns, in one process.

    make bench                                  the default run, and a smaller network with short steps
    make bench ARGS="pairs=3 model=vit_tiny"    fewer turns, of any other run

Turn by turn, each of the loops of `bench_loops.py` trains the same network. The first epoch of each is a warm-up and is not
counted; validation is not counted either. The ratio of CPU seconds depends less on what else the machine does.
"""

import statistics
import sys

import torch
from bench_loops import LOOPS, Clock

from regulo.config import compose, schema
from regulo.core.memory import keep_freed_memory
from regulo.core.warnings import ignore_harmless_warnings
from regulo.training.build import apply_autotune, build_components
from regulo.training.train import autotune

PAIRS, EPOCHS = 9, 4
SMALL = ["model.width=12"]
"""a network whose step takes about a quarter of the time"""
OURS, BARE = list(LOOPS)[:2]


def load_config(overrides: list[str]) -> schema.Config:
    """The configuration of a run that is not stopped early, with the fastest precision and memory format of this machine."""
    config = compose.load_config([*overrides, f"trainer.max_epochs={EPOCHS}", "regularizer.early_stopping.patience=99"])
    return apply_autotune(config, autotune(build_components(config)))


def measure_in_turns(config: schema.Config, pairs: int) -> dict[str, list[tuple[float, float]]]:
    """The rates of each loop in each turn. The order changes from turn to turn."""
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in LOOPS}
    names = list(LOOPS)
    for _ in range(pairs):
        for name in names:
            clock = Clock()
            LOOPS[name](config, clock)
            rates[name].append(clock.rates())
        names = [*names[1:], names[0]]
        print("   ".join(f"{name} {values[-1][0]:,.0f}/s" for name, values in rates.items()), flush=True)
    return rates


def describe_ratios(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> str:
    """Median and range of our rate relative to that of another loop, in time and in CPU time."""
    parts = []
    for title, column in (("time", 0), ("CPU time", 1)):
        ratios = [a[column] / b[column] for a, b in zip(ours, theirs, strict=True)]
        parts.append(f"{title} {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")
    return ", ".join(parts)


def main() -> None:
    """Print the rates of each turn, and the ratios of all."""
    ignore_harmless_warnings()
    keep_freed_memory()  # as every command does
    pairs = next((int(word.partition("=")[2]) for word in sys.argv[1:] if word.startswith("pairs=")), PAIRS)
    words = [word for word in sys.argv[1:] if not word.startswith("pairs=")]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, n = {pairs} turns")
    for overrides in [words] if words else [[], SMALL]:
        config = load_config(overrides)
        print(f"\n{' '.join(overrides) or 'the default run'}: {config.trainer.precision}, {config.trainer.memory_format}")
        rates = measure_in_turns(config, pairs)
        step = config.data.batch_size / statistics.median(rate for rate, _ in rates[BARE])
        print(f"a step of the bare loop takes {1000 * step:.1f} ms; our rate relative to that of")
        for name in LOOPS:
            if name != OURS:
                print(f"  {name:24} {describe_ratios(rates[OURS], rates[name])}", flush=True)


if __name__ == "__main__":
    main()
