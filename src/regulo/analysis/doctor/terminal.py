"""What `regulo doctor` prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regulo.analysis.doctor.autofix import experiments
from regulo.analysis.doctor.base import RuleFinding
from regulo.core.console import CONSOLE
from regulo.core.errors import InputError

if TYPE_CHECKING:
    from regulo.analysis.doctor.verdict import Verdict

COLOURS = {"error": "bold red", "warning": "bold yellow", "note": "bold blue"}


def findings(found: Sequence[RuleFinding]) -> None:
    """A paragraph for each finding."""
    if not found:
        CONSOLE.print("nothing to say")
    for f in found:
        CONSOLE.print(f"{f.severity:8}{f.key}", style=COLOURS[f.severity], soft_wrap=True)
        for label, text in (("", f.what), ("why", f.why), ("source", f.reference), ("fix", " ".join(map(quoted, f.fix)))):
            if text:
                CONSOLE.print(f"  {label:7} {text}", soft_wrap=True)
        CONSOLE.print()


def mended(found: Sequence[RuleFinding]) -> None:
    """A line for each fix that was applied."""
    for f in found:
        CONSOLE.print(f"mended  {f.key}: {f.what}", soft_wrap=True)
        CONSOLE.print(f"  by      {' '.join(map(quoted, f.fix))}", soft_wrap=True)
    if found:
        CONSOLE.print()


def written(file: Path, words: Sequence[str]) -> None:
    """Where the experiment is and how it is run."""
    CONSOLE.print(f"written: {file}", soft_wrap=True)
    here = file.absolute().parent.parts[-2:] == experiments().parts
    CONSOLE.print(f'run it:  make train ARGS="experiment={file.stem}"' + ("" if here else f"   once it lies in {experiments()}/"))
    CONSOLE.print(f"or:      regulo train {' '.join(map(quoted, words))}", soft_wrap=True)


def verdict(name: str, given: "Verdict") -> None:
    """The regime of a run, its evidence, and what to try next."""
    CONSOLE.print(f"{name}: {given.regime}", style="bold", soft_wrap=True)
    for sentence in given.evidence:
        CONSOLE.print(f"  · {sentence}", soft_wrap=True)
    for command in given.next:
        CONSOLE.print(f"  try: {command}", soft_wrap=True)
    CONSOLE.print()


def unexamined(refusal: InputError) -> None:
    """Why nothing can be said of a configuration."""
    CONSOLE.print(f"its configuration cannot be examined here: {refusal}\n", soft_wrap=True)


def quoted(word: str) -> str:
    """A word as a shell takes it."""
    return f"'{word}'" if any(c in word for c in "[]{}~ '*") else word
