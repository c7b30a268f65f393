"""The runs of a study: the list, and what is measured on each. The name of a run's folder has a hash of its config."""

import copy
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regulo.analysis.ablation.cells import StudyCell
from regulo.analysis.ablation.study import StudyConfig
from regulo.analysis.launchers.runs import PlannedRun
from regulo.config.schema import Config
from regulo.evaluation import robustness
from regulo.tracking import records
from regulo.tracking.run_dir import RunFolder


@dataclass(frozen=True)
class StudyRun(PlannedRun):
    """One run of a cell. The name of its folder depends on its whole configuration."""

    cell: StudyCell
    seed: int
    label_noise: float | None
    """the share of wrong training labels in the second run of a cell, of which only the test accuracy is used; else None"""
    corruptions: bool

    @property
    def condition(self) -> str | None:
        """The cell; None for a run with label noise."""
        return self.cell.label if self.label_noise is None else None

    def result(self) -> dict[str, Any]:
        """The content of result.json and measures.json, as far as they are there and whole."""
        return super().result() | records.read_or_empty(records.read_measures, RunFolder(self.folder))

    def is_measured(self) -> bool:
        """Whether robustness has been measured; it is not for a run with label noise."""
        return self.label_noise is not None or ("corrupted/acc" if self.corruptions else "test/ece_scaled") in self.result()

    def measure(self) -> None:
        """Measure robustness."""
        robustness.measure_robustness(RunFolder.open(self.folder), self.corruptions)


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
    return StudyRun(root / name, tuple(overrides), cell, seed, noise, study.corruptions)


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
