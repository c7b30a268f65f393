"""What `regulo doctor` prints."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.analysis.doctor.autofix import experiment_dir
from regulo.analysis.doctor.base import RuleFinding
from regulo.core.console import CONSOLE
from regulo.core.errors import InputError

if TYPE_CHECKING:
    from regulo.analysis.doctor.verdict import RunVerdict

COLORS = {"error": "bold red", "warning": "bold yellow", "note": "bold blue"}


def print_findings(findings: Sequence[RuleFinding]) -> None:
    """Print a paragraph for each finding."""
    if not findings:
        CONSOLE.print("nothing to say")
    for f in findings:
        CONSOLE.print(f"{f.severity:8}{f.key}", style=COLORS[f.severity], soft_wrap=True)
        for label, text in (("", f.what), ("why", f.why), ("source", f.reference), ("fix", shlex.join(f.fix))):
            if text:
                CONSOLE.print(f"  {label:7} {text}", soft_wrap=True)
        CONSOLE.print()


def print_fixes(fixes: Sequence[RuleFinding]) -> None:
    """Print the findings that were fixed, and the overrides that fixed them."""
    for f in fixes:
        CONSOLE.print(f"fixed   {f.key}: {f.what}", soft_wrap=True)
        CONSOLE.print(f"  by      {shlex.join(f.fix)}", soft_wrap=True)
    if fixes:
        CONSOLE.print()


def print_experiment(file: Path, overrides: Sequence[str]) -> None:
    """Print where the experiment is and how to run it."""
    CONSOLE.print(f"written: {file}", soft_wrap=True)
    in_place = file.absolute().parent.parts[-2:] == experiment_dir().parts
    condition = "" if in_place else f"   (move the file to {experiment_dir()}/ first)"
    CONSOLE.print(f'run it:  make train ARGS="experiment={file.stem}"{condition}')
    CONSOLE.print(f"or:      regulo train {shlex.join(overrides)}", soft_wrap=True)


def print_verdict(name: str, verdict: "RunVerdict") -> None:
    """Print the regime of a run, the evidence, and what to try next."""
    CONSOLE.print(f"{name}: {verdict.regime}", style="bold", soft_wrap=True)
    for sentence in verdict.evidence:
        CONSOLE.print(f"  · {sentence}", soft_wrap=True)
    for command in verdict.next:
        CONSOLE.print(f"  try: {command}", soft_wrap=True)
    CONSOLE.print()


def print_config_error(error: InputError) -> None:
    """Print why a run's configuration cannot be examined."""
    CONSOLE.print(f"its configuration cannot be examined here: {error}\n", soft_wrap=True)
