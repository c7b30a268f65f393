"""`regulo doctor --fix`: the fixes applied one after the other, and written as an experiment."""

from collections.abc import Sequence
from pathlib import Path

from regulo.analysis.doctor.base import RuleFinding
from regulo.analysis.doctor.examination import examine
from regulo.config import compose
from regulo.config.overrides import Overrides
from regulo.core.errors import InputError, Problem
from regulo.core.files import atomic_write

ROUNDS = 40


def apply_fixes(
    overrides: Sequence[str], difference: float | None = None
) -> tuple[list[str], list[RuleFinding], list[RuleFinding]]:
    """The overrides with the fixes of all errors and warnings behind them, what was mended, and what is left."""
    words, mended = list(overrides), list[RuleFinding]()
    for _ in range(ROUNDS):
        findings = examine(words, difference)
        grave = [f for f in findings if f.severity != "note" and f.fix and f not in mended]
        if not grave:
            return words, mended, findings
        mended.append(grave[0])
        words += grave[0].fix
    raise AssertionError(f"the fixes do not come to an end: {words}")


def check(file: Path) -> None:
    """Raise InputError if an experiment cannot be written to this file."""
    if file.suffix != ".yaml":
        raise InputError(Problem("--fix", f"{file} is not a name for an experiment", f"{file.with_suffix('.yaml')}"))
    if file.exists():
        raise InputError(Problem("--fix", f"{file} exists", "name another file: --fix my_experiment.yaml"))
    if not file.absolute().parent.is_dir():
        raise InputError(Problem("--fix", f"there is no folder {file.parent}"))


def save(file: Path, words: Sequence[str], mended: Sequence[RuleFinding]) -> None:
    """Write the run that these overrides describe as an experiment that says what was mended."""
    head = [
        "Written by regulo doctor --fix; what it changed, and why:",
        *(f"  {' '.join(f.fix)}   # {f.key}: {f.what}" for f in mended),
        *(["  nothing"] if not mended else []),
        f'  command   make train ARGS="experiment={file.stem}"   from {experiments() / file.name}',
        "  time      not measured",
        "  expected  not measured",
    ]
    atomic_write(file, Overrides.from_config(compose.load_config(words), explicit=True).to_experiment(file.stem, "\n".join(head)))


def experiments() -> Path:
    """Where experiments lie, as one says it in a checkout."""
    return Path("configs") / "experiment"
