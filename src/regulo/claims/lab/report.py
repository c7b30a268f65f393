"""The page of claims: statement, lesson, method, numbers, verdict, figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from regulo.callbacks.base import figure
from regulo.claims.base import Claim, Finding, Trial
from regulo.runs import write


def write_page(
    root: Path, known: Mapping[str, Claim], measured: Mapping[str, Sequence[Trial]], findings: Mapping[str, Finding]
) -> Path:
    """`claims.md` with a section for every claim that has been judged, and its figure beside it. Returns its path."""
    lines = ["# The lesson's claims, tried", "", "| | claim | verdict | number |", "|---|---|---|---|"]
    for name, finding in findings.items():
        claim = known[name]
        lines.append(
            f"| {claim.number} | [{claim.statement}](#{claim.number}-{name}) | **{finding.verdict}** | {finding.number} |"
        )
    for name, finding in findings.items():
        picture = figure(7, 3.6)
        known[name].draw(measured[name], picture)
        (root / "figures").mkdir(parents=True, exist_ok=True)
        picture.savefig(root / "figures" / f"{name}.png", dpi=110)
        lines += ["", *section(known[name], finding)]
    page = root / "claims.md"
    write(page, "\n".join(lines) + "\n")
    return page


def section(claim: Claim, finding: Finding) -> list[str]:
    """One claim in Markdown."""
    lines = [
        f"## {claim.number} {claim.name}",
        "",
        f"**{claim.statement}**",
        "",
        f"*The lesson.* {claim.lesson}",
        "",
        f"*Source.* {claim.source}",
        "",
        f"*How it is tried.* {claim.method} `regulo claims {claim.name}`",
        "",
        f"| {finding.measure} | n | mean | spread |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row.cells())} |" for row in finding.rows),
        "",
        f"**Verdict: {finding.verdict}.** {finding.number}",
        "",
        f"![{claim.name}](figures/{claim.name}.png)",
    ]
    return lines
