"""The runs of a study: which there are, how each stands, and how one is made. A run's folder is named by what it is."""

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
from regulo.analysis.ablation.study import Study
from regulo.config import compose
from regulo.config.schema import Config
from regulo.core.files import file_lock
from regulo.evaluation import robustness
from regulo.tracking import records
from regulo.tracking.run_dir import LAST, RunFolder
from regulo.tracking.upgrade import upgrade_error_type

State = Literal["done", "failed", "unmeasured", "open"]
FINAL = "NonFiniteLossError"
"""the error of a run that would fail the same way again: its loss was not finite"""


@dataclass(frozen=True)
class StudyRun:
    """One run of a cell, in a folder that its whole configuration names."""

    cell: StudyCell
    seed: int
    label_noise: float | None
    """of the second run of a cell, whose labels are spoilt; nothing but its test accuracy is asked for"""
    corruptions: bool
    folder: Path
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def result(self) -> dict[str, Any]:
        """What result.json and measures.json say, so far."""
        folder = RunFolder(self.folder)
        return records.read_result(folder) | records.read_measures(folder)

    def state(self) -> State:
        """done; failed for good; trained and not measured; or to be run, whatever an earlier attempt has left."""
        known = self.result()
        if known.get("status") == "failed" and upgrade_error_type(known.get("error_type")) == FINAL:
            return "failed"
        if known.get("status") != "done":
            return "open"
        wanted = {"corrupted/acc"} if self.corruptions else {"test/ece_scaled"}
        return "done" if self.label_noise is not None or wanted <= known.keys() else "unmeasured"


def plan_runs(study: Study, configs_of: Mapping[StudyCell, Config], root: Path) -> list[StudyRun]:
    """All runs, seed by seed, so that what is finished early is whole seeds."""
    return [
        _run(study, cell, config, seed, noise, root)
        for seed in range(study.seeds)
        for cell, config in configs_of.items()
        for noise in (None, study.label_noise)[: 1 if study.label_noise is None else 2]
    ]


def _run(study: Study, cell: StudyCell, config: Config, seed: int, noise: float | None, root: Path) -> StudyRun:
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
    """Train and measure what of a run is not there yet. Raises what `regulo train` raises."""
    from regulo.analysis.shared_settings import pinned_overrides
    from regulo.core.warnings import ignore_harmless_warnings
    from regulo.training.train import train

    ignore_harmless_warnings()
    root = run.folder.parent
    with file_lock(root / "locks" / run.name):  # a cluster may still be at it for an earlier start
        if run.state() == "open" and (run.folder / "checkpoints" / LAST).is_file():
            train(["--resume", str(run.folder)])
        elif run.state() == "open":
            shutil.rmtree(run.folder, ignore_errors=True)
            place = str(run.folder).replace("\\", "\\\\").replace("'", "\\'")
            train([*run.overrides, *pinned_overrides(compose.load_config(run.overrides), root), f"run_dir='{place}'"])
        if run.state() == "unmeasured":
            robustness.measure_robustness(RunFolder.open(run.folder), run.corruptions)


def stale_runs(runs: list[StudyRun], root: Path) -> dict[str, str]:
    """Folders of runs that do not belong to the study as it is now, with the reason; they are kept and not used."""
    names = {run.name for run in runs}
    seeds = {run.seed for run in runs}
    slugs = {run.name.rpartition("-s")[0] for run in runs}
    found = {}
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        parts = re.fullmatch(r"(.+)-s(\d+)-[0-9a-f]{8}", folder.name)
        if parts and folder.is_dir() and folder.name not in names:
            slug, seed = parts[1], int(parts[2])
            if slug not in slugs:
                found[folder.name] = "the study has no such cell any more"
            elif seed not in seeds:
                found[folder.name] = f"the study has no seed {seed} any more"
            else:
                found[folder.name] = "the cell's configuration has changed since"
    return found
