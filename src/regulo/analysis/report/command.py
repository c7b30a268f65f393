"""`regulo report`: a page for each run or study."""

from collections.abc import Callable, Sequence
from pathlib import Path

from regulo.analysis.report.page import Page
from regulo.core.errors import InputError, Problem
from regulo.tracking.run_dir import RunFolder, list_runs
from regulo.tracking.run_names import find_run


def report(folders: Sequence[str], wandb: bool) -> int:
    """Write report.html into each folder of a run or a study; if none is named, into the newest run's.

    wandb: make the same a report on W&B, too. Returns the exit code.
    """
    paths = [find_run(folder) for folder in folders] or [newest()]
    makers = [maker(path) for path in paths]  # refuses all before the first is made
    if wandb:
        from regulo.analysis.report import wandb_report

        wandb_report.preflight()
    from rich.console import Console

    from regulo.analysis.report import html

    for path, build in zip(paths, makers, strict=True):
        with Console(stderr=True).status(f"looking at {path}"):
            page = build()
            file = html.save(page, path / "report.html")
        print(file)
        if wandb:
            print(wandb_report.publish(page))
    return 0


def maker(folder: Path) -> Callable[[], Page]:
    """What makes the page of a folder. Raises InputError if it is neither a run nor a study."""
    if (folder / "study.json").is_file():
        from regulo.analysis.report import study_page
        from regulo.core import safe_io

        safe_io.check_folder(folder)
        return lambda: study_page.build(folder)
    from regulo.analysis.report import run_page

    run = RunFolder.open(folder)
    return lambda: run_page.build(run)


def newest() -> Path:
    """The run that was begun last, finished or not."""
    runs = list_runs()
    if not runs:
        raise InputError(Problem("runs", "there is no run to report on yet", "make train"))
    return runs[0]
