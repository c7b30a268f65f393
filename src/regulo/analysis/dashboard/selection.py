"""Which runs the page shows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regulo.core.errors import InputError, Problem
from regulo.tracking.run_dir import CONFIG, RunFolder
from regulo.tracking.run_names import find_run
from regulo.tracking.run_summary import RunSummary, summarize_run, summarize_runs


@dataclass(frozen=True)
class Selection:
    """Which runs the page shows."""

    folders: Sequence[Path]
    """all runs below these"""
    runs: Sequence[Path] = ()
    """and these, which are compared first"""

    def summaries(self) -> list[RunSummary]:
        """The runs, each once, newest first."""
        if len(self.folders) == 1 and not self.runs:
            return summarize_runs(self.folders[0])
        below = [summary for folder in self.folders for summary in summarize_runs(folder)]
        single = [summarize_run(run, run.parent) for run in self.runs]
        by_path = {os.path.realpath(summary.path): summary for summary in (*below, *single)}
        return sorted(by_path.values(), key=lambda summary: (summary.started, str(summary.path)), reverse=True)


def select_runs(folders: Sequence[str]) -> Selection:
    """The runs below these folders: runs, studies, or folders of runs; none: runs/. Raises InputError if one is no folder."""
    if not folders:
        return Selection([Path("runs")])
    paths = [find_run(folder) for folder in folders]
    for path in paths:
        if not path.is_dir():
            raise InputError(Problem("RUN", f"{path} is not a folder", "name a run, a study, or a folder of runs"))
    runs = [RunFolder.open(path).path for path in paths if (path / CONFIG).exists()]
    return Selection([path for path in paths if not (path / CONFIG).exists()], runs)
