"""`regulo report`: a page for each run or study."""

from collections.abc import Callable, Sequence
from pathlib import Path

from regulo.analysis.report.page import Page
from regulo.core.errors import InputError, Problem
from regulo.tracking.run_dir import RunFolder, list_runs
from regulo.tracking.run_names import find_run

PAGES_OF_THEIR_OWN = ("crossval.json", "tune.json")
"""records of commands that have written a page beside them"""


def report(folders: Sequence[str], wandb: bool, data_root: str | None = None) -> int:
    """Write report.html into each folder of a run or a study; without folders, into that of the newest run.

    wandb: also publish each page as a report on W&B. data_root: where the data are, if they have moved. Returns the exit code.
    Raises InputError if a folder is neither a run nor a study.
    """
    paths = [find_run(folder) for folder in folders] or [newest_run()]
    builders = [page_builder(path, data_root) for path in paths]  # checks all folders before the first page is made
    if wandb:
        from regulo.analysis.report import wandb_report

        wandb_report.preflight()
    from rich.console import Console

    from regulo.analysis.report import html

    for path, build in zip(paths, builders, strict=True):
        with Console(stderr=True).status(f"reading {path}"):
            page = build()
            file = html.save(page, path / "report.html")
        print(file)
        if wandb:
            print(wandb_report.publish(page))
    return 0


def page_builder(folder: Path, data_root: str | None = None) -> Callable[[], Page]:
    """A function that builds the page of a folder. Raises InputError if the folder is neither a run nor a study."""
    if (folder / "study.json").is_file():
        from regulo.analysis.report import study_page
        from regulo.core import safe_io

        safe_io.check_folder(folder)
        return lambda: study_page.build(folder)
    for record in PAGES_OF_THEIR_OWN:
        if (folder / record).is_file():
            what = f"{folder} has a {record}, and is no run: its page was written with its results"
            raise InputError(Problem("RUN", what, f"open {folder / 'report.html'}"))
    from regulo.analysis.report import run_page

    run = RunFolder.open(folder)
    return lambda: run_page.build(run, data_root)


def newest_run() -> Path:
    """The run that was started last, finished or not. Raises InputError if there is none."""
    runs = list_runs()
    if not runs:
        raise InputError(Problem("runs", "there is no run to report on yet", "make train"))
    return runs[0]
