"""Trains runs whose regime is known by construction, and counts how often the doctor's verdict is right.

    make regimes                    trains what is missing; writes tests/doctor/regimes.json and docs/doctor.md
    make regimes ARGS="--fit"       shows the features of the calibration runs by regime, to set the thresholds
    make regimes ARGS="--only NAME" trains and shows the runs whose name begins with NAME

The label of a run depends on its settings and never on its curves. The settings of each regime alternate: the first, third, …
set the thresholds, the others are held out. About 12 minutes on 2 cores; runs/regimes keeps the runs.
"""

import dataclasses
import datetime
import functools
import json
import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from regulo.analysis.claims.lab import experiments
from regulo.analysis.doctor.examination import rules
from regulo.analysis.doctor.features import Features, read_features
from regulo.analysis.doctor.verdict import REGIMES, THRESHOLDS, classify
from regulo.analysis.launchers import local
from regulo.core.files import atomic_write
from regulo.tracking.run_dir import RunFolder

HERE = Path(__file__).parents[1]
ROOT, JSON, PAGE = Path("runs") / "regimes", HERE / "tests" / "doctor" / "regimes.json", HERE / "docs" / "doctor.md"
PARTS = ("calibration", "held out")
SEEDS = (0, 1)

CNN = ["model.width=8"]
VIT = ["model=vit_tiny", "model.width=32", "model.depth=2"]
ADAM = ["optim=adamw", "optim.lr=0.004"]
PLAIN = ["regularizer=none"]
LIGHT = ["regularizer=[augment,weight_decay]"]
FULL = ["regularizer=[augment,cutmix,dropout,mixup,weight_decay]"]
STOP = ["regularizer=[augment,weight_decay,early_stopping]", "regularizer.early_stopping.patience=1"]


def epochs(n: int) -> list[str]:
    """Overrides for a run of n epochs."""
    return [f"trainer.max_epochs={n}"]


def images(n: int) -> list[str]:
    """Overrides for n training images, with batches that are small enough for many steps."""
    return [f"data.max_train_images={n}", f"data.batch_size={32 if n < 1000 else 64}"]


SETTINGS: dict[str, dict[str, list[str]]] = {
    # new views of every image in every epoch, a usual rate that is annealed, and enough epochs for this size
    "fits": {
        "light": [*CNN, *LIGHT, *epochs(16)],
        "light, smoothing": [*CNN, "regularizer=[augment,weight_decay,light_smoothing]", *epochs(18)],
        "light, 16 wide": ["model.width=16", *LIGHT, *epochs(12)],
        "light, Adam": [*CNN, *ADAM, *LIGHT, *epochs(16)],
        "half the default": ["model.width=16", *FULL, "strength=0.5", *epochs(16)],
        "light dropout": ["model.width=16", "regularizer=[augment,weight_decay,dropout]", *epochs(14)],
    },
    # very few steps, very small steps, or a network with very few channels
    "underfits": {
        "one epoch": [*CNN, *PLAIN, *images(2000), *epochs(1)],
        "two small epochs": [*CNN, *PLAIN, *images(1000), *epochs(2)],
        "tiny rate": [*CNN, *PLAIN, *epochs(4), "optim.lr=0.0005", "optim.schedule=constant"],
        "tiny rate, Adam": [*CNN, *ADAM, *LIGHT, *epochs(4), "optim.lr=0.00001", "optim.schedule=constant"],
        "ViT, two small epochs": [*VIT, *LIGHT, *images(2000), *epochs(2)],
        "one channel": ["model.width=1", *PLAIN, *epochs(6)],
    },
    # random labels, or very few images: both can only be memorized; no regularizer, many epochs
    "overfits": {
        "random labels": [*CNN, *PLAIN, *images(500), *epochs(60), "data.label_noise=1.0"],
        "200 images": [*CNN, *PLAIN, *images(200), *epochs(80)],
        "half of the labels random": ["model.width=16", *PLAIN, *images(1000), *epochs(40), "data.label_noise=0.5"],
        "random labels, Adam": [*CNN, *ADAM, *PLAIN, *images(500), *epochs(60), "data.label_noise=1.0"],
        "ViT, 300 images": [*VIT, *PLAIN, *images(300), *epochs(80)],
        "400 images, 32 wide": ["model.width=32", *PLAIN, *images(400), *epochs(40)],
    },
    # many times the usual strength, with enough epochs for the network without regularization
    "over-regularized": {
        "strength 6": [*CNN, *FULL, "strength=6", *epochs(10)],
        "strength 4": [*CNN, *FULL, "strength=4", *epochs(10)],
        "dropout .9": [*CNN, "regularizer=dropout", "regularizer.dropout.fc=0.9", "regularizer.dropout.conv=0.6", *epochs(10)],
        "dropout .8, Adam": [
            *[*CNN, *ADAM, "regularizer=dropout", "regularizer.dropout.fc=0.8", "regularizer.dropout.conv=0.7"],
            *epochs(10),
        ],
        "turned and blurred": [
            *[*CNN, "regularizer=[augment,rand_augment,cutmix,dropout]", "regularizer.augment.rotate=180"],
            *["regularizer.augment.padding=0.5", "regularizer.rand_augment.magnitude=30", "regularizer.cutmix.p=1.0"],
            *["regularizer.dropout.fc=0.7", *epochs(10)],
        ],
        "decay 1000 times": [*CNN, "regularizer=[augment,weight_decay]", "regularizer.weight_decay.rate=0.9", *epochs(10)],
    },
    # learning rates 100 times the usual ones, or high ones in a network without normalization
    "unstable": {
        "rate 30": [*CNN, *LIGHT, "~regularizer.weight_decay", *epochs(6), "optim.lr=30"],
        "rate 100": [*CNN, *PLAIN, *epochs(6), "optim.lr=100"],
        "no norm, rate 10": [*CNN, "regularizer=norm", "regularizer.norm.kind=none", *epochs(6), "optim.lr=10"],
        "no norm, rate 30": [*CNN, "regularizer=[norm,augment]", "regularizer.norm.kind=none", *epochs(6), "optim.lr=30"],
        "ViT, Adam at .5": [*VIT, *PLAIN, *epochs(6), "optim.lr=0.5", "optim.grad_clip_norm=null"],
        "ViT, SGD at 50": [*VIT, "optim=sgd", *PLAIN, *epochs(6), "optim.lr=50"],
    },
    # the run stops at the first epoch that is not better by about a third of a nat, long before the end of its schedule
    "stopped too early": {
        "patience 1": [*CNN, *STOP, *epochs(40), "regularizer.early_stopping.min_delta=0.3"],
        "patience 1, constant": [
            *[*CNN, *STOP, *epochs(40), "regularizer.early_stopping.min_delta=0.4", "optim.schedule=constant"],
        ],
        "patience 1, Adam": [*CNN, *ADAM, *STOP, *epochs(40), "regularizer.early_stopping.min_delta=0.3"],
        "patience 1, 16 wide": ["model.width=16", *STOP, *epochs(30), "regularizer.early_stopping.min_delta=0.4"],
        "patience 1, ViT": [*VIT, *STOP, *epochs(40), "regularizer.early_stopping.min_delta=0.3"],
        "patience 2, cosine": [
            *[*CNN, *STOP, "regularizer.early_stopping.patience=2", "regularizer.early_stopping.min_delta=0.4"],
            *[*epochs(40), "optim.schedule=cosine"],
        ],
    },
}


@dataclass(frozen=True)
class LabeledRun:
    """A run whose regime is known."""

    regime: str
    setting: str
    seed: int
    part: str
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the run, without characters that a file name cannot have."""
        return f"{self.regime}-{self.setting}-{self.seed}".replace(" ", "_").replace(",", "").replace(".", "")


def labeled_runs() -> Iterator[LabeledRun]:
    """All runs."""
    for regime, settings in SETTINGS.items():
        for i, (setting, overrides) in enumerate(settings.items()):
            for seed in SEEDS:
                yield LabeledRun(regime, setting, seed, PARTS[i % 2], (*overrides, f"seed={seed}"))


def train(run: LabeledRun, root: Path) -> None:
    """Train a run, if it is not in `root` yet, and save its features."""
    folder = RunFolder.open(experiments.train(run.overrides, root)["folder"])
    atomic_write(root / f"{run.name}.json", json.dumps(dataclasses.asdict(read_features(folder))))


def measure(runs: Sequence[LabeledRun]) -> dict[LabeledRun, Features]:
    """The features of the runs; missing runs are trained, one per core. Raises SystemExit if one breaks."""
    jobs = {run.name: functools.partial(train, run, ROOT.absolute()) for run in runs}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    errors = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(jobs))
        for event in local.run_jobs(jobs, local.machine_slots(), ROOT / "logs"):
            if event.seconds is None:
                progress.update(bar, description=event.name[:48].ljust(48))
            else:
                progress.advance(bar)
            if event.error:
                errors.append(f"{event.name}: {event.error}")
    if errors:
        raise SystemExit("\n".join(errors))
    return {run: Features(**json.loads((ROOT / f"{run.name}.json").read_text(encoding="utf-8"))) for run in runs}


def confusion(runs: Mapping[LabeledRun, Features], part: str) -> tuple[dict[str, dict[str, int]], float]:
    """The confusion matrix {true regime: {verdict: count}} of a part, and the share of right verdicts."""
    counts = {regime: dict.fromkeys(REGIMES, 0) for regime in REGIMES}
    for run, features in runs.items():
        if run.part == part:
            counts[run.regime][classify(features)] += 1
    total = sum(sum(row.values()) for row in counts.values())
    return counts, sum(counts[r][r] for r in REGIMES) / max(total, 1)


FEATURES = ("unlearned", "burden", "gap_acc", "gap_loss", "rise", "falling", "spike", "rate_left", "relative_strength")


def show(runs: Mapping[LabeledRun, Features]) -> None:
    """Print the features and verdict of each run, and the range of the features by regime."""
    console = Console(width=170)
    table = Table("run", "verdict", *FEATURES)
    for run, f in runs.items():
        verdict = classify(f)
        mark = "" if verdict == run.regime else "  ✗"
        table.add_row(run.name, verdict + mark, *(f"{getattr(f, key):.3g}" for key in FEATURES))
    console.print(table)
    ranges = Table("range, by regime", *FEATURES)
    for regime in REGIMES:
        regime_features = [f for run, f in runs.items() if run.regime == regime]
        ranges.add_row(regime, *(value_range([getattr(f, key) for f in regime_features]) for key in FEATURES))
    console.print(ranges)
    console.print(THRESHOLDS)


def value_range(values: Sequence[float]) -> str:
    """Minimum, median and maximum of the finite values."""
    finite = [v for v in values if math.isfinite(v)]
    return f"{min(finite):.2g} {statistics.median(finite):.2g} {max(finite):.2g}" if finite else "–"


def to_json(runs: Mapping[LabeledRun, Features]) -> str:
    """The text of tests/doctor/regimes.json: label, part and features of each run."""
    rows = []
    for run, f in runs.items():
        features = {k: (v if math.isfinite(v) else None) for k, v in dataclasses.asdict(f).items()}
        rows.append(json.dumps(dataclasses.asdict(run) | {"features": features}))
    return '{"runs": [\n' + ",\n".join(rows) + "\n]}\n"


def to_markdown(runs: Mapping[LabeledRun, Features]) -> str:
    """The text of docs/doctor.md."""
    lines = [
        "# The doctor",
        "",
        "`make doctor` examines a run before it starts, `make doctor ARGS=runs/…` one that has ended. Exit codes of",
        "`regulo doctor` for a run that has not started: 0 nothing to say, or notes only; 1 a warning; 2 an error: `regulo",
        "train` would refuse the run. For one that has ended it is 0. `make doctor` has exit code 2 in place of 1. `make",
        "regimes` writes this page.",
        "",
        "Options: `--fix my.yaml` applies the fixes and writes the run as an experiment (without a file:",
        "`configs/experiment/doctor.yaml`); `--difference=1` says which difference in",
        "accuracy, in percentage points, the validation images must resolve.",
        "",
        "## How often the verdict is right",
        "",
        f"{len(runs)} runs on the shipped images, whose regime follows from their settings and not from their curves",
        f"(see `scripts/regimes.py`). Half of the settings set the thresholds, the others were held out. "
        f"{datetime.date.today()}.",
        "",
    ]
    for part in reversed(PARTS):
        counts, right = confusion(runs, part)
        n = sum(sum(row.values()) for row in counts.values())
        lines += [f"### {part.capitalize()}: {right:.0%} of {n} runs", "", f"| true regime | {' | '.join(REGIMES)} |"]
        lines += ["|---" * (len(REGIMES) + 1) + "|"]
        lines += [f"| {regime} | {' | '.join(str(n or '') for n in row.values())} |" for regime, row in counts.items()]
        lines += [""]
    held_out = {run: classify(f) for run, f in runs.items() if run.part == PARTS[1]}
    mistakes = [f"{run.name}: judged {regime}" for run, regime in held_out.items() if regime != run.regime]
    lines += ["Wrong verdicts on held-out runs: " + ("; ".join(mistakes) if mistakes else "none") + ".", ""]
    lines += ["## Thresholds", "", "| threshold | value |", "|---|---|"]
    lines += [f"| `{name}` | {value:g} |" for name, value in dataclasses.asdict(THRESHOLDS).items()]
    lines += [
        "",
        "`src/regulo/analysis/doctor/verdict.py` gives the reason for each.",
        "",
        "## The rules",
        "",
        "| rule | why | source |",
    ]
    lines += ["|---|---|---|"]
    lines += [f"| {(r.__doc__ or '').rstrip('.')} | {r.why} | {r.reference} |" for r in rules()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, classify, and write the results."""
    args = sys.argv[1:]
    runs = list(labeled_runs())
    if "--only" in args:
        prefix = args[args.index("--only") + 1]
        show(measure([run for run in runs if run.name.startswith(prefix)]))
    elif "--fit" in args:
        show(measure([run for run in runs if run.part == PARTS[0]]))
    else:
        features = measure(runs)
        show(features)
        for part in PARTS:
            print(f"{part}: {confusion(features, part)[1]:.1%} right")
        atomic_write(JSON, to_json(features))
        atomic_write(PAGE, to_markdown(features))


if __name__ == "__main__":
    main()
