"""`regulo doctor --fix`: apply the fixes one after the other, and write the fixed run as an experiment."""

import re
from collections.abc import Sequence
from pathlib import Path

from regulo.analysis.doctor.base import RuleFinding
from regulo.analysis.doctor.examination import examine
from regulo.config import compose
from regulo.config.overrides import Overrides
from regulo.core.errors import InputError, Problem
from regulo.core.files import atomic_write

MAX_FIXES = 40
"""a bound on the loop: more fixes than rules that can apply to one run"""


def apply_fixes(
    overrides: Sequence[str], difference: float | None = None
) -> tuple[list[str], list[RuleFinding], list[RuleFinding]]:
    """Apply the fixes of all errors and warnings.

    Returns the overrides followed by those of the fixes, the findings that were fixed, and the findings that are left.
    """
    args, fixes = list(overrides), list[RuleFinding]()
    for _ in range(MAX_FIXES):
        findings = examine(args, difference)
        fixable = [f for f in findings if f.severity != "note" and f.fix and f not in fixes]
        if not fixable:
            return args, fixes, findings
        fixes.append(fixable[0])
        args += fixable[0].fix
    raise AssertionError(f"{MAX_FIXES} fixes were not enough: {args}")


def check_file(file: Path) -> None:
    """Raise InputError if an experiment cannot be written to this file."""
    if file.suffix != ".yaml":
        raise InputError(Problem("--fix", f"{file} is not a name for an experiment", f"{file.with_suffix('.yaml')}"))
    if not re.fullmatch(r"[\w.+-]+", file.stem):  # it is the name of the run, and an option on the command line
        what = f"{file.stem!r} is not a name for an experiment: it may have letters, digits and . + - _"
        raise InputError(Problem("--fix", what, str(file.with_stem(re.sub(r"[^\w.+-]+", "_", file.stem)))))
    if file.exists():
        raise InputError(Problem("--fix", f"{file} exists", "name another file: --fix my_experiment.yaml"))
    if not file.absolute().parent.is_dir():
        raise InputError(Problem("--fix", f"there is no folder {file.parent}"))


def save_experiment(file: Path, overrides: Sequence[str], fixes: Sequence[RuleFinding]) -> None:
    """Write the run that these overrides describe as an experiment. Its header names the fixes."""
    header = [
        "Written by regulo doctor --fix; what it changed, and why:",
        *(f"  {' '.join(f.fix)}   # {f.key}: {f.what}" for f in fixes),
        *(["  nothing"] if not fixes else []),
        f'  command   make train ARGS="experiment={file.stem}"   from {experiment_dir() / file.name}',
        "  time      not measured",
        "  expected  not measured",
    ]
    run = Overrides.from_config(compose.load_config(overrides), explicit=True)
    atomic_write(file, run.to_experiment(file.stem, "\n".join(header)))


def experiment_dir() -> Path:
    """The folder of experiments, relative to a checkout."""
    return Path("configs") / "experiment"
