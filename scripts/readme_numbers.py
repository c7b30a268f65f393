"""Measure the README's table and draw its picture: .venv/bin/python scripts/readme_numbers.py (about 15 minutes on 2 cores).

Trains the default run and the run without regularization, with seeds 0, 1 and 2, one after the other, in runs/readme/. A finished
run is not repeated: remove the folder to measure again. Writes the table into README.md and the picture docs/figures/gap.png.
"""

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RUNS = ROOT / "runs" / "readme"
BEGIN, END = "<!-- begin: python scripts/readme_numbers.py -->\n", "<!-- end -->\n"
SEEDS = (0, 1, 2)
PLANS: dict[str, list[str]] = {"default": [], "none": ["regularizer=none"]}
COLUMNS = {
    "test accuracy, %": ("test/acc", 100, 2),
    "test NLL, nats": ("test/loss", 1, 3),
    "test ECE": ("test/ece", 1, 3),
    "gap, points": ("gap/acc", 100, 1),
}
"""column → key of result.json, factor, digits"""


def result(plan: str, seed: int) -> dict[str, Any]:
    """result.json of a run, which is trained first if it is not there. Raises CalledProcessError if it fails."""
    folder = RUNS / f"{plan}-{seed}"
    if not (folder / "result.json").exists():
        overrides = [*PLANS[plan], f"seed={seed}", f"run_dir={folder}", "logger=csv"]
        subprocess.run([sys.executable, "-m", "regulo", "train", *overrides], cwd=ROOT, check=True)
    content: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if content["status"] != "done":
        raise SystemExit(f"{folder} is not finished: remove it")
    return content


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation."""
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def processor() -> str:
    """The name of the processor, as Linux reports it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def block(results: dict[str, list[dict[str, Any]]]) -> str:
    """The table and the sentences below it."""
    commands = {plan: "make train" + (f' ARGS="{" ".join(words)}"' if words else "") for plan, words in PLANS.items()}
    lines = [f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for plan, runs in results.items():
        cells = [mean_and_spread([factor * run[key] for run in runs], digits) for key, factor, digits in COLUMNS.values()]
        lines.append(f"| `{commands[plan]}` | {' | '.join(cells)} |")
    pairs = list(zip(results["default"], results["none"], strict=True))
    accuracy = mean_and_spread([100 * (a["test/acc"] - b["test/acc"]) for a, b in pairs], 2)
    nats = mean_and_spread([b["test/loss"] - a["test/loss"] for a, b in pairs], 3)
    level = statistics.mean(run["test/acc"] for run in results["default"])
    error = 100 * (level * (1 - level) / 5000) ** 0.5
    version = ".".join(torch.__version__.split(".")[:2])
    seeds, cores = ", ".join(map(str, SEEDS)), len(os.sched_getaffinity(0))
    lines += [
        "",
        f"Mean ± standard deviation over seeds {seeds} (n = {len(SEEDS)}), on {cores} CPU cores ({processor()}),",
        f"torch {version}, {datetime.date.today()}. "
        f"Paired by seed, regularization gains {accuracy} points of accuracy and {nats} nats.",
        f"With 5,000 test images, one accuracy has a standard error of {error:.2f} points.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train what is missing, write the table, draw the picture."""
    results = {plan: [result(plan, seed) for seed in SEEDS] for plan in PLANS}
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    README.write_text(before + BEGIN + block(results) + END + rest.partition(END)[2], encoding="utf-8")
    titles = {"no regularization": "none", "the default plan": "default"}
    panels = [f"{title}=" + ",".join(str(RUNS / f"{plan}-{seed}") for seed in SEEDS) for title, plan in titles.items()]
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "figure_gap.py", ROOT / "docs" / "figures" / "gap.png", *panels], check=True
    )
    seconds = {plan: round(statistics.mean(run["fit_seconds"] for run in runs)) for plan, runs in results.items()}
    print(f"seconds of training, on average: {seconds}")


if __name__ == "__main__":
    main()
