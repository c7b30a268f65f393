"""Compares the learning-rate range test with whole runs at a grid of learning rates, and draws both.

    .venv/bin/python scripts/lr_grid.py docs/figures/tune_lr.png                                  # the default run
    .venv/bin/python scripts/lr_grid.py docs/figures/tune_lr.png "" "model=vit_tiny" --epochs 5    # two plans, five epochs each

Each plan is one word with the overrides of a run, separated by spaces. The grid is 1/16, 1/8, …, 8 times the rate of the plan. A
range test is made with each seed, and with at least three. The table has the rate of the best whole run by the monitor, and what
the tests have read. Started again, it goes on where it stopped.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from regulo.analysis.launchers.options import LaunchOptions
from regulo.analysis.launchers.runner import run_all
from regulo.analysis.launchers.runs import PlannedRun
from regulo.analysis.tuning.range_test import RangeTest, range_test
from regulo.config.compose import load_config
from regulo.core.figures import new_figure
from regulo.training.measure_speed import build_measured

FACTORS = [2.0**i for i in range(-4, 4)]
READINGS = {"steepest": "#0072B2", "valley": "#CC79A7", "lowest": "#E69F00", "recommended": "#D55E00"}  # for color-blind readers
Grid = dict[float, list[float]]
"""for each rate, the monitor of the whole runs of all seeds"""


def main() -> None:
    """Make the tests and the runs that are missing; print the table, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", type=Path)
    parser.add_argument("plans", nargs="*", default=[""])
    parser.add_argument("--epochs", type=int, default=None, help="of the whole runs; default: those of the plan")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=None)
    parser.add_argument("--output", type=Path, default=Path("runs/lr_grid"))
    options = parser.parse_args()
    panels = []
    for plan in options.plans:
        words = [*plan.split(), *([f"trainer.max_epochs={options.epochs}"] if options.epochs else [])]
        grid = run_grid(words, options.seeds, options.at_once, options.output.absolute())
        tests = [range_test(build_measured(load_config([*words, f"seed={seed}"]))) for seed in range(max(options.seeds, 3))]
        panels.append((plan or "the default run", grid, tests))
        print(json.dumps(summarize(*panels[-1])), flush=True)
    draw(panels, options.figure)


def run_grid(words: list[str], seeds: int, at_once: int | None, root: Path) -> Grid:
    """The monitor of whole runs at each rate."""
    config = load_config(words)
    lr = config.optim.for_batch_size(config.data.batch_size).lr
    runs = {
        (lr * factor, seed): PlannedRun(
            root / f"{config.model.name}-{lr * factor:.3g}-seed-{seed}", (*words, f"optim.lr={lr * factor:.6g}", f"seed={seed}")
        )
        for factor in FACTORS
        for seed in range(seeds)
    }
    root.mkdir(parents=True, exist_ok=True)
    run_all(LaunchOptions(at_once), list(runs.values()), config.run.goal, root)
    grid: Grid = {}
    for (rate, _), run in runs.items():
        grid.setdefault(rate, []).append(float(run.result().get(config.run.goal.monitor, math.inf)))
    return grid


def lowest(test: RangeTest) -> float:
    """The rate with the lowest smoothed loss."""
    return float(test.rates[int(np.argmin(test.smooth))])


def readings(tests: list[RangeTest]) -> dict[str, list[float]]:
    """What each test has read."""
    values = {name: [float(getattr(test, name)) for test in tests] for name in READINGS if name != "lowest"}
    return {**values, "lowest": [lowest(test) for test in tests]}


def summarize(plan: str, grid: Grid, tests: list[RangeTest]) -> dict[str, Any]:
    """One row of the table: rates, and their ratios to the best one of the grid."""
    best = min(grid, key=lambda rate: statistics.mean(grid[rate]))
    read = {name: [f"{value:.3g}" for value in values] for name, values in readings(tests).items()}
    ratio = {name: f"{statistics.median(values) / best:.2f}" for name, values in readings(tests).items()}
    whole = {f"{rate:.3g}": [round(value, 4) for value in values] for rate, values in grid.items()}
    return {"plan": plan, "best rate of whole runs": best, "whole runs": whole, "read": read, "median / best": ratio}


def draw(panels: list[tuple[str, Grid, list[RangeTest]]], file: Path) -> None:
    """Range tests above, whole runs below, one column for each plan."""
    figure = new_figure(4.8 * len(panels), 4.8)
    axes = figure.subplots(2, len(panels), squeeze=False, sharex="col")
    for column, (plan, grid, tests) in enumerate(panels):
        above, below = axes[0][column], axes[1][column]
        for test in tests:
            above.plot(test.rates, test.smooth, color="0.35", lw=1.2, alpha=0.8)
        above.set_ylim(min(t.smooth.min() for t in tests) - 0.05, np.median([t.smooth[0] for t in tests]) * 1.15)
        above.set_title(f"{plan}: range test, n = {len(tests)}", fontsize=9)
        rates, means = list(grid), [statistics.mean(values) for values in grid.values()]
        below.plot(rates, means, "o-", color="0.35", lw=1.2, ms=4)
        best = rates[int(np.argmin(means))]
        finite = [m for m in means if math.isfinite(m)]
        below.set_ylim(min(finite) - 0.02, min(max(finite), 3 * min(finite)) + 0.02)
        below.axvspan(best / 3, 3 * best, color="0.5", alpha=0.15, lw=0, label="3 times less and more than the best")
        for name, values in readings(tests).items():
            for ax in (above, below):
                ax.axvline(statistics.median(values), color=READINGS[name], lw=1.5, label=name if ax is below else None)
        below.set_title(f"whole runs, n = {len(next(iter(grid.values())))} a rate", fontsize=9)
        below.set(xlabel="learning rate", xscale="log")
        for ax in (above, below):
            ax.grid(alpha=0.25)
            ax.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("smoothed training loss")
    axes[1][0].set_ylabel("val/loss at the end")
    axes[1][-1].legend(fontsize=8, frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    main()
