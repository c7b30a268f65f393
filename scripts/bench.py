"""What the framework costs: `regulo train` beside other ways to write the same training, in turns of a few steps.

    make bench                                  the default run, and a smaller network with short steps
    make bench ARGS="turns=10 model=vit_tiny"   fewer turns, of any other run

Each loop of `bench_loops.py` trains the same network in a process of its own, of which only one runs at a time. A turn has
as many steps as there are from one log point to the next. Validation does not count. Loader processes may read ahead while
their loop waits; the default run has none.
"""

import statistics
import sys

import numpy as np
import torch
from bench_loops import LOOPS
from bench_turns import STEPS, Turn, measure_in_turns

from regulo.config import compose, schema
from regulo.config.overrides import Overrides
from regulo.core.warnings import ignore_harmless_warnings
from regulo.training.measure_speed import build_measured

TURNS = 60
SMALL = ["model.width=12"]
"""a network whose step takes about a quarter of the time"""
OURS, BARE = list(LOOPS)[:2]


def prepare(overrides: list[str]) -> schema.Config:
    """The configuration of a run that is long enough, with the fastest precision and memory format of this machine."""
    long = ["trainer.max_epochs=1000", "regularizer.early_stopping.patience=1000"]
    config = compose.load_config(["trainer.compile=off", *overrides, *long])  # the other loops do not compile
    return build_measured(config).config


def describe_ratios(ours: list[Turn], theirs: list[Turn]) -> str:
    """Median of our rate relative to that of another loop, with its 95% interval, in time and in CPU time; and the middle 80%."""
    parts = []
    for title, column in (("time", 0), ("CPU time", 1)):
        ratios = np.array([b[column] / a[column] for a, b in zip(ours, theirs, strict=True)])
        resamples = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
        low, high = np.quantile(np.median(resamples, axis=1), [0.025, 0.975])
        p10, p90 = np.quantile(ratios, [0.1, 0.9])
        parts.append(f"{title} {np.median(ratios):.3f} [{low:.3f}, {high:.3f}] ({p10:.3f} to {p90:.3f})")
    return ", ".join(parts)


def main() -> None:
    """Print the median ratios, their intervals, and the range of the middle 80% of the turns."""
    ignore_harmless_warnings()
    turns = next((int(word.partition("=")[2]) for word in sys.argv[1:] if word.startswith("turns=")), TURNS)
    words = [word for word in sys.argv[1:] if not word.startswith("turns=")]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, n = {turns} turns of {STEPS} steps")
    for overrides in [words] if words else [[], SMALL]:
        config = prepare(overrides)
        print(
            f"\n{' '.join(overrides) or 'the default run'}: {config.trainer.precision}, {config.trainer.memory_format}",
            flush=True,
        )
        results = measure_in_turns(LOOPS, Overrides.from_config(config).to_args(), turns)
        seconds = statistics.median(turn.seconds for turn in results[BARE]) / STEPS
        print(f"a step of the bare loop takes {1000 * seconds:.1f} ms; our rate relative to that of")
        for name in LOOPS:
            if name != OURS:
                print(f"  {name:24} {describe_ratios(results[OURS], results[name])}", flush=True)


if __name__ == "__main__":
    main()
