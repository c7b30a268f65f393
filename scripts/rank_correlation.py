"""Measures how well short runs predict the order of long ones: the rank correlation of plans after a third, a ninth, … of them.

    .venv/bin/python scripts/rank_correlation.py                                     # 16 plans of the default run
    .venv/bin/python scripts/rank_correlation.py --plans 24 model=vit_tiny          # any override of `regulo train`

Plans are drawn from the priors of `regulo tune`. Each is run as a whole at several lengths, and the long run is also read after
the same numbers of epochs, as if it had been cut off there. The table has Spearman's ρ to the end of the long runs with a 90%
bootstrap interval, and whether the best third of the short runs has the best plan. Started again, it goes on where it stopped.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from regulo.analysis.launchers.options import LaunchOptions
from regulo.analysis.launchers.runner import run_all
from regulo.analysis.launchers.runs import PlannedRun
from regulo.analysis.tuning.arguments import parse_tune_args
from regulo.analysis.tuning.command import make_space
from regulo.analysis.tuning.rungs import FACTOR
from regulo.config import compose
from regulo.regularizers.base import Goal
from regulo.tracking.records import read_metrics
from regulo.tracking.run_dir import RunFolder


def main() -> None:
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=16)
    parser.add_argument("--at-once", type=int, default=None)
    parser.add_argument("--output", type=Path, default=Path("runs/rank_correlation"))
    options, overrides = parser.parse_known_args()
    args = parse_tune_args(["trials=99", *overrides])
    config = compose.load_config(args.overrides)
    space = make_space(config, args)
    lengths = list_lengths(config.trainer.max_epochs)
    root = options.output.absolute()
    plans = []
    for number in range(options.plans):
        drawn = space.params_of_base() if number == 0 else space.draw_from_prior(np.random.default_rng([0, number]), number)
        plans.append(space.overrides_of(drawn))
    runs = {
        (number, epochs): PlannedRun(
            root / f"plan-{number:03d}-{epochs}-epochs", (*args.overrides, *words, f"trainer.max_epochs={epochs}", "seed=0")
        )
        for epochs in lengths
        for number, words in enumerate(plans)
    }
    root.mkdir(parents=True, exist_ok=True)
    run_all(LaunchOptions(options.at_once), list(runs.values()), config.run.goal, root)
    report(runs, lengths, config.run.goal, root)


def list_lengths(max_epochs: int) -> list[int]:
    """The epochs of the runs, the longest first."""
    lengths = [max_epochs]
    while round(lengths[-1] / FACTOR) >= 2:
        lengths.append(round(lengths[-1] / FACTOR))
    return lengths


def report(runs: dict[tuple[int, int], PlannedRun], lengths: Sequence[int], goal: Goal, root: Path) -> None:
    """Print the table, and save its numbers."""
    longest, monitor, sign = lengths[0], goal.monitor, 1 if goal.mode == "min" else -1
    numbers = sorted({number for number, _ in runs})
    done = [n for n in numbers if all(runs[n, epochs].result().get("status") == "done" for epochs in lengths)]
    final = np.array([runs[n, longest].result()[monitor] for n in done])
    rows = []
    for epochs in lengths[1:]:
        whole = np.array([runs[n, epochs].result()[monitor] for n in done])
        cut = np.array([value_at(runs[n, longest], monitor, epochs) for n in done])
        for kind, values in (("whole runs", whole), ("long runs cut off", cut)):
            rho, low, high = correlate(values, final)
            kept = set(np.argsort(sign * values)[: len(done) // FACTOR].tolist())
            rows.append(
                {
                    "epochs": epochs,
                    "kind": kind,
                    "rho": rho,
                    "low": low,
                    "high": high,
                    "best_is_kept": int(np.argmin(sign * final)) in kept,
                }
            )
    print(f"Spearman's rho to {monitor} after {longest} epochs, n = {len(done)} plans, 90% bootstrap intervals")
    print("| epochs | kind | ρ | interval | the best plan is in the best third |")
    print("|---|---|---|---|---|")
    for row in rows:
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        print(f"| {row['epochs']} | {row['kind']} | {row['rho']:.2f} | {interval} | {'yes' if row['best_is_kept'] else 'no'} |")
    content = {"monitor": monitor, "plans": len(done), "rows": rows, "final": final.tolist()}
    (root / "rank_correlation.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def value_at(run: PlannedRun, monitor: str, epochs: int) -> float:
    """The monitor of a run after some of its epochs; of an epoch that it did not have, the last value."""
    values = read_metrics(RunFolder(run.folder)).values(monitor)
    return float(values[min(epochs, len(values)) - 1])


def correlate(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Spearman's ρ of two rows of numbers (n,), and its 90% bootstrap interval."""
    rng = np.random.default_rng(0)
    samples = [float(spearmanr(a[i], b[i]).statistic) for i in (rng.integers(len(a), size=len(a)) for _ in range(1000))]
    low, high = np.nanquantile(samples, (0.05, 0.95))
    return float(spearmanr(a, b).statistic), float(low), float(high)


if __name__ == "__main__":
    main()
