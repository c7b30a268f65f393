"""The runs of a study: the list, the state of each, and how one is made. The name of a run's folder has a hash of its config."""

import copy
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from regulo.analysis.ablation.cells import StudyCell
from regulo.analysis.ablation.study import StudyConfig
from regulo.config import compose
from regulo.config.overrides import format_value
from regulo.config.schema import Config
from regulo.core.files import file_lock
from regulo.evaluation import robustness
from regulo.tracking import records
from regulo.tracking.run_dir import LAST, RunFolder

State = Literal["done", "failed", "unmeasured", "open"]
PERMANENT_ERROR = "NonFiniteLossError"
"""the error of a run that would fail the same way again: its loss was not finite"""


@dataclass(frozen=True)
class StudyRun:
    """One run of a cell. The name of its folder depends on its whole configuration."""

    cell: StudyCell
    seed: int
    label_noise: float | None
    """the share of wrong training labels in the second run of a cell, of which only the test accuracy is used; else None"""
    corruptions: bool
    folder: Path
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def result(self) -> dict[str, Any]:
        """The content of result.json and measures.json, as far as they are there and whole."""
        folder = RunFolder(self.folder)
        return records.read_or_empty(records.read_result, folder) | records.read_or_empty(records.read_measures, folder)

    def state(self) -> State:
        """done; failed for good; trained and not measured; or open: to be run, even if an earlier attempt has left a folder."""
        result = self.result()
        if result.get("status") == "failed" and result.get("error_type") == PERMANENT_ERROR:
            return "failed"
        if result.get("status") != "done":
            return "open"
        measure = "corrupted/acc" if self.corruptions else "test/ece_scaled"
        return "done" if self.label_noise is not None or measure in result else "unmeasured"


def plan_runs(study: StudyConfig, configs: Mapping[StudyCell, Config], root: Path) -> list[StudyRun]:
    """All runs, seed by seed, so that a study that is stopped early has whole seeds."""
    noise_levels = (None,) if study.label_noise is None else (None, study.label_noise)
    return [
        _plan_run(study, cell, config, seed, noise, root)
        for seed in range(study.seeds)
        for cell, config in configs.items()
        for noise in noise_levels
    ]


def _plan_run(study: StudyConfig, cell: StudyCell, config: Config, seed: int, noise: float | None, root: Path) -> StudyRun:
    tree = copy.deepcopy(config.as_dict())
    tree["seed"] = seed
    overrides = [*cell.overrides, f"seed={seed}"]
    if noise is not None:
        tree["data"]["label_noise"] = noise
        overrides.append(f"data.label_noise={noise}")
    digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{cell.slug}{'-noise' if noise is not None else ''}-s{seed}-{digest}"
    return StudyRun(cell, seed, noise, study.corruptions, root / name, tuple(overrides))


def make_run(run: StudyRun) -> None:
    """Train and measure a run, as far as that is not done yet. Raises what `regulo train` raises."""
    from regulo.analysis.shared_settings import pinned_overrides, same_data_arguments
    from regulo.core.warnings import ignore_harmless_warnings
    from regulo.training.train import train

    ignore_harmless_warnings()
    root = run.folder.parent
    with file_lock(root / "locks" / run.name):  # a cluster may still run it for an earlier start of the study
        if run.state() == "open" and (run.folder / "checkpoints" / LAST).is_file():
            train(["--resume", str(run.folder)])
        elif run.state() == "open":
            shutil.rmtree(run.folder, ignore_errors=True)
            folder = str(run.folder).replace("\\", "\\\\").replace("'", "\\'")
            config = compose.load_config(run.overrides)
            shared = [*pinned_overrides(config, root), *same_data_arguments(config.data, root)]
            group = [] if config.logger.resolve().group else [f"logger.group={format_value(root.name)}"]
            train([*run.overrides, *shared, *group, f"run_dir='{folder}'"])
        if run.state() == "unmeasured":
            robustness.measure_robustness(RunFolder.open(run.folder), run.corruptions)


def stale_runs(runs: list[StudyRun], root: Path) -> dict[str, str]:
    """Folders of runs that do not belong to the study in its present form, each with the reason; they are kept and not used."""
    names = {run.name for run in runs}
    seeds = {run.seed for run in runs}
    slugs = {run.name.rpartition("-s")[0] for run in runs}
    reasons = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        parts = re.fullmatch(r"(.+)-s(\d+)-[0-9a-f]{8}", folder.name)
        if parts and folder.is_dir() and folder.name not in names:
            slug, seed = parts[1], int(parts[2])
            if slug not in slugs:
                reasons[folder.name] = "the study has no such cell anymore"
            elif seed not in seeds:
                reasons[folder.name] = f"the study has no seed {seed} anymore"
            else:
                reasons[folder.name] = "the cell's configuration has changed since"
    return reasons
