"""The plans of a cross-validation, and their runs: one for each fold and seed."""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulo.analysis.crossval import predictions
from regulo.analysis.launchers.options import LaunchOptions, take_launch_options
from regulo.analysis.launchers.runs import PlannedRun, override_key, with_defaults
from regulo.analysis.shared_settings import DATA, compare_settings, same_data_arguments
from regulo.config import compose
from regulo.config.schema import Config
from regulo.core.errors import InputError, Problem, one_line
from regulo.core.safe_io import read_json
from regulo.core.text import format_count
from regulo.data.components.file_dataset import FileDatasetConfig
from regulo.tracking.run_dir import RunFolder

PLAN, AGAINST = "plan", "against"
"""the plan, and the word after which the overrides of a second one follow"""
RESERVED = {
    "seed": "seeds=3",
    "run_dir": "name=… names the folder of all runs",
    "data.folds": "folds=5",
    "data.fold": "each fold has a run",
}
"""keys that the overrides must not set, and the hint for each"""
SETTINGS = "settings.json"
"""the file with the settings of the plans, so that runs of others are not mixed with them"""
LIMITS = {"folds": (2, 100), "seeds": (1, 100)}


@dataclass(frozen=True)
class CrossvalArgs:
    """The command line of `regulo crossval`."""

    folds: int
    seeds: int
    """runs of each fold, with the seeds 0, 1, …; their probabilities and scores are averaged"""
    plans: Mapping[str, tuple[str, ...]]
    """the overrides of "plan" and perhaps of "against" """
    launch: LaunchOptions


@dataclass(frozen=True)
class FoldRun(PlannedRun):
    """A run that is tested on one fold."""

    plan: str
    fold: int
    seed: int

    @property
    def condition(self) -> str:
        """The plan."""
        return self.plan

    def is_measured(self) -> bool:
        """Whether the predictions on the fold are saved."""
        return (self.folder / predictions.FILE).is_file()

    def measure(self) -> None:
        """Predict the images of the fold."""
        predictions.save_test_predictions(RunFolder.open(self.folder))


def parse_crossval_args(arguments: Sequence[str]) -> CrossvalArgs:
    """Read the command line. Raises InputError; what a run would refuse is checked later."""
    launch, words, problems = take_launch_options(arguments)
    numbers = {"folds": 5, "seeds": 1}
    overrides: dict[str, list[str]] = {PLAN: []}
    for word in words:
        key, equals, value = word.partition("=")
        if word == AGAINST:
            problems += [Problem(AGAINST, "there are two of these words", "two plans are compared")] * (AGAINST in overrides)
            overrides[AGAINST] = []
        elif key in numbers and equals:
            low, high = LIMITS[key]
            if re.fullmatch(r"\d{1,9}", value) and low <= int(value) <= high:
                numbers[key] = int(value)
            else:
                problems.append(Problem(key, f"{value!r} should be a number from {low} to {high}", f"{key}={numbers[key]}"))
        elif hint := RESERVED.get(override_key(word)):
            problems.append(Problem(word, "belongs to the cross-validation", hint))
        else:
            overrides[list(overrides)[-1]].append(word)
    if AGAINST in overrides and not overrides[AGAINST]:
        problems.append(Problem(AGAINST, "nothing comes after it", "against regularizer=none"))
    if problems:
        raise InputError(*problems)
    shared = [f"data.folds={numbers['folds']}", "data.fold=0"]
    plans = {PLAN: (*with_defaults(overrides[PLAN]), *shared)}
    if AGAINST in overrides:
        plans[AGAINST] = (*with_defaults([*overrides[PLAN], *overrides[AGAINST]]), *shared)
    return CrossvalArgs(numbers["folds"], numbers["seeds"], plans, launch)


def load_plans(args: CrossvalArgs) -> dict[str, Config]:
    """The run of fold 0 of each plan. Raises InputError, also if two plans are the same run or have other names."""
    configs = {label: compose.load_config(overrides) for label, overrides in args.plans.items()}
    if AGAINST in configs:
        if configs[AGAINST] == configs[PLAN]:
            raise InputError(Problem(AGAINST, "the second plan is the very same as the first one", "against regularizer=none"))
        if configs[AGAINST].run.name != configs[PLAN].run.name:
            raise InputError(
                Problem(f"{AGAINST} name", "both plans have their runs in one folder", "set the name before against")
            )
    return configs


def list_runs(args: CrossvalArgs, root: Path) -> list[FoldRun]:
    """All runs, seed by seed and fold by fold, so that the plans are compared early."""
    return [
        FoldRun(
            root / f"{'' if plan == PLAN else f'{plan}-'}fold-{fold}{f'-s{seed}' if seed else ''}",
            (*overrides, f"data.fold={fold}", f"seed={seed}"),
            plan,
            fold,
            seed,
        )
        for seed in range(args.seeds)
        for fold in range(args.folds)
        for plan, overrides in args.plans.items()
    ]


def check_settings(configs: Mapping[str, Config], root: Path) -> dict[str, Any]:
    """The settings of all plans that the folder has, with these. Raises InputError if it has runs with other settings."""
    file = root / SETTINGS
    saved = read_json(file, "name") if file.is_file() else {}
    current = {label: json.loads(json.dumps(config.as_dict())) for label, config in configs.items()}
    compare_settings(saved, current, root, "name=another, or remove that folder")
    return saved | current


def prepare_data(configs: Mapping[str, Config], folds: int, root: Path) -> None:
    """Fix the images of every fold before the first run. Raises InputError, also if the plans are tested on other images."""
    from regulo.tracking import records

    for fold in range(folds):
        digests = {}
        for label, config in configs.items():
            data = config.data.model_copy(update={"fold": fold})
            record = records.read_data_record(RunFolder(Path(same_data_arguments(data, root)[1])))
            digests[label] = record.digests["test"] if record else ""
        if len(set(digests.values())) > 1:
            what = f"the plans would be tested on other images: fold {fold} is not the same"
            raise InputError(Problem(AGAINST, what, "leave the keys that choose the images as they are, such as data.split_seed"))


@contextmanager
def forget_data_if_refused(root: Path) -> Iterator[None]:
    """Within: if a first start is refused, the lists of images that it has saved go, so that they bind no later start."""
    try:
        yield
    except InputError:
        if not (root / SETTINGS).is_file():
            shutil.rmtree(root / DATA, ignore_errors=True)
        raise


def describe_data_changes(config: Config, root: Path) -> list[str]:
    """A note if the files and labels that are there now are not those of the cross-validation, which keeps the first ones."""
    from regulo.tracking import records

    data = config.data
    record = records.read_data_record(RunFolder(Path(same_data_arguments(data, root)[1])))
    if not isinstance(data, FileDatasetConfig) or record is None or record.files is None:
        return []
    what = "the data have changed since this cross-validation began"
    end = "its results are of the images and labels then; name=another measures those now"
    try:
        splits = data.list_labeled_files().splits
    except InputError as refusal:
        return [one_line(f"{what}: {refusal.problems[0].what}; {end}")]
    now = {path: name for part in ("train", "val") for name, paths in splits.get(part, {}).items() for path in paths}
    then = {path: name for files in record.files.values() for name, paths in files.items() for path in paths}
    numbers = {
        "gone": sum(path not in now for path in then),
        "new": sum(path not in then for path in now),
        "under another label": sum(now.get(path, name) != name for path, name in then.items()),
    }
    changes = [f"{format_count(n, 'image')} {'is' if n == 1 else 'are'} {how}" for how, n in numbers.items() if n]
    return [f"{what}: {', '.join(changes)}; {end}"] if changes else []


def dry_run(configs: Mapping[str, Config], root: Path) -> None:
    """Build the model of each plan once, so that a technique that does not fit it is refused early. Raises InputError."""
    from regulo.evaluation.restore import without_input_checks
    from regulo.training.build import build_components

    for label, config in configs.items():
        try:
            data_folder = RunFolder(Path(same_data_arguments(config.data, root)[1]))
            build_components(without_input_checks(config.take_input_of_weights()[0]), data_folder)
        except InputError as refusal:
            raise InputError(*(dataclasses.replace(p, key=f"{label}: {p.key}") for p in refusal.problems)) from None
