"""The page of claims: statement, lesson, method, numbers, verdict, figure."""

import datetime
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from regulo.analysis.claims.base import Claim, ClaimResult, ClaimTrial
from regulo.core.figures import new_figure
from regulo.core.files import atomic_write

SPREAD = (
    "n counts seeds (or cases), spread is their sample standard deviation. It is over seeds only: all runs share one training "
    "and one test set, of 5,000 images each, so that an accuracy of 88% has a standard error of .46 points besides. A "
    "difference is called clear if it exceeds the one-sided 95% point of Student's t for the noise that conditions and "
    "seeds leave; that bound stands behind it in brackets. A claim of a difference that is clear in neither direction "
    "is undecided."
)
QUICK = "**Quick: one seed and coarse grids. What is called a verdict here is an indication.**"


def write_page(
    page: Path,
    figures: str,
    known: Mapping[str, Claim],
    measured: Mapping[str, Sequence[ClaimTrial]],
    findings: Mapping[str, ClaimResult],
    quick: bool,
) -> None:
    """A page with a section for every claim that has been measured, and its figure in the folder `figures` beside it."""
    import torch

    where = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {datetime.date.today()}"
    lines = [
        "# The lesson's claims, tried",
        "",
        *([QUICK, ""] if quick else []),
        f"`regulo claims` made this page ({where}). {SPREAD}",
    ]
    lines += ["", "| | claim | verdict | number |", "|---|---|---|---|"]
    for name, finding in findings.items():
        claim = known[name]
        lines.append(
            f"| {claim.number} | [{claim.statement}](#{claim.number}-{name}) | **{finding.verdict}** | {finding.evidence} |"
        )
    (page.parent / figures).mkdir(parents=True, exist_ok=True)
    for name, finding in findings.items():
        picture = new_figure(7, 3.6)
        known[name].draw(measured[name], picture)
        picture.savefig(page.parent / figures / f"{name}.png", dpi=110)
        lines += ["", *section(known[name], finding, figures)]
    atomic_write(page, "\n".join(lines) + "\n")


def section(claim: Claim, finding: ClaimResult, figures: str) -> list[str]:
    """One claim in Markdown."""
    return [
        f"## {claim.number} {claim.name}",
        "",
        f"**{claim.statement}**",
        "",
        f"*The lesson.* {claim.lesson}",
        "",
        f"*Source.* {claim.reference}",
        "",
        f"*How it is tried.* {claim.method} `regulo claims {claim.name}`",
        "",
        "| | n | mean | spread |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row.cells())} |" for row in finding.rows),
        "",
        f"**Verdict: {finding.verdict}.** {finding.evidence}",
        "",
        f"![{claim.name}]({figures}/{claim.name}.png)",
    ]
