"""Writes the page of claims: statement, lesson, source, method, numbers, verdict and figure of each."""

import datetime
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimTrial
from regulo.core.figures import new_figure
from regulo.core.files import atomic_write

SPREAD = (
    "n is the number of seeds (or cases), spread is their sample standard deviation. It covers seeds only: all runs share one "
    "training and one test set, of 5,000 images each, so that an accuracy of 88% has an additional standard error of .46 "
    "points. A difference is significant if it exceeds the one-sided 95% point of Student's t for the noise that remains "
    "without the means of conditions and seeds; that bound follows it in brackets. A claim of a difference that is "
    "significant in neither direction is undecided."
)
QUICK = "**Quick: one seed and coarse grids. The verdicts here are indications.**"


def write_page(
    page: Path,
    figures: str,
    claims: Mapping[str, Claim],
    trials: Mapping[str, Sequence[ClaimTrial]],
    results: Mapping[str, ClaimResult],
    quick: bool,
) -> None:
    """Write a section and a figure for every claim in `results`. `figures`: a folder, relative to that of the page."""
    import torch

    environment = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {datetime.date.today()}"
    lines = [
        "# The lesson's claims, tested",
        "",
        *([QUICK, ""] if quick else []),
        f"`regulo claims` wrote this page ({environment}). {SPREAD}",
    ]
    lines += ["", "| | claim | verdict | evidence |", "|---|---|---|---|"]
    for name, result in results.items():
        claim = claims[name]
        link = f"[{claim.statement}](#{claim.number}-{name})"
        lines.append(f"| {claim.number} | {link} | **{result.verdict}** | {result.evidence} |")
    (page.parent / figures).mkdir(parents=True, exist_ok=True)
    for name, result in results.items():
        figure = new_figure(7, 3.6)
        claims[name].draw(trials[name], figure)
        figure.savefig(page.parent / figures / f"{name}.png", dpi=110)
        lines += ["", *section(claims[name], result, figures)]
    atomic_write(page, "\n".join(lines) + "\n")


def section(claim: Claim, result: ClaimResult, figures: str) -> list[str]:
    """The lines of one claim in Markdown."""
    return [
        f"## {claim.number} {claim.name}",
        "",
        f"**{claim.statement}**",
        "",
        f"*The lesson.* {claim.lesson}",
        "",
        f"*Source.* {claim.reference}",
        "",
        f"*Method.* {claim.method} `regulo claims {claim.name}`",
        "",
        "| | n | mean | spread |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row.cells())} |" for row in result.rows),
        "",
        f"**Verdict: {result.verdict}.** {result.evidence}",
        "",
        f"![{claim.name}]({figures}/{claim.name}.png)",
    ]
