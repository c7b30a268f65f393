"""`regulo report`: a page for each run or study."""

from collections.abc import Callable, Sequence
from pathlib import Path

from regulo.errors import Problem, Refused, nearest
from regulo.home import expanded
from regulo.report.page import Page


def report(arguments: Sequence[str]) -> int:
    """`regulo report [RUN… | STUDY] [--wandb]`: write report.html into each folder; of none is named, the latest run's.

    `--wandb` makes the same a report on W&B, too. Returns the exit code.
    """
    wrong = [a for a in arguments if a.startswith("-") and a != "--wandb"]
    if wrong:
        raise Refused(Problem("regulo report", f"takes no {wrong[0]!r}", nearest(wrong[0], ["--wandb"])))
    folders = [expanded(a) for a in arguments if not a.startswith("-")] or [latest(Path("runs"))]
    makers = [maker(folder) for folder in folders]  # refuses all before the first is made
    if "--wandb" in arguments:
        from regulo.report import wandb_report

        wandb_report.preflight()
    from rich.console import Console

    from regulo.report import html

    for folder, build in zip(folders, makers, strict=True):
        with Console(stderr=True).status(f"looking at {folder}"):
            page = build()
            file = html.save(page, folder / "report.html")
        print(file)
        if "--wandb" in arguments:
            print(wandb_report.publish(page))
    return 0


def maker(folder: Path) -> Callable[[], Page]:
    """What makes the page of a folder. Raises Refused if it is neither a run nor a study."""
    if (folder / "study.json").is_file():
        from regulo import foreign
        from regulo.report import study_page

        foreign.check_folder(folder)
        return lambda: study_page.build(folder)
    from regulo.report import run_page
    from regulo.runs import RunFolder

    run = RunFolder.open(folder)
    return lambda: run_page.build(run)


def latest(runs: Path) -> Path:
    """The run that was begun last."""
    found = sorted(runs.glob("*/config.yaml"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise Refused(Problem("runs", "there is no run to report on yet", "make train"))
    return found[-1].parent
