"""`regulo doctor`: what is risky in a run before it starts, and what its curves say after it."""

from collections.abc import Sequence

from regulo.config import validate
from regulo.core import yaml_files
from regulo.core.errors import InputError, Problem
from regulo.core.paths import expand_path
from regulo.tracking.run_dir import RunFolder
from regulo.tracking.run_names import open_run


def doctor(words: Sequence[str], fix: str | None, difference: str | None) -> int:
    """Examine the run that these overrides describe, or finished runs. Returns the exit code.

    fix: write the fixed run to this file, `` to configs/experiment/doctor.yaml, None nowhere. difference: in percentage points.

    0: nothing to say, or notes only; 1: a warning; 2: an error, which `regulo train` would refuse with this code. The findings of
    a finished run do not count, nor its verdict. With a fix, the exit code is that of the fixed run.
    """
    runs = [w for w in words if "=" not in w and not w.startswith("~")]
    if runs and (len(runs) < len(words) or fix is not None or difference is not None):
        raise InputError(
            Problem("regulo doctor", f"takes overrides or run folders ({runs[0]}), not both, and options with overrides")
        )
    share = None if difference is None else points(difference)

    from regulo.analysis.doctor import terminal

    if runs:
        for folder in [open_run(run) for run in runs]:
            after(folder)
        return 0
    if fix is None:
        from regulo.analysis.doctor.examination import examine

        findings = examine(words, share)
        terminal.findings(findings)
    else:
        from regulo.analysis.doctor import autofix

        file = expand_path(fix) if fix else yaml_files.config_dir() / "experiment" / "doctor.yaml"
        autofix.check(file)
        words, mended, findings = autofix.apply_fixes(words, share)
        terminal.mended(mended)
        terminal.findings(findings)
        if any(f.severity == "error" for f in findings):
            return 2
        autofix.save(file, words, mended)
        terminal.written(file, words)
    return {"error": 2, "warning": 1}.get(findings[0].severity, 0) if findings else 0


def points(text: str) -> float:
    """Percentage points as a share of 1. Raises InputError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise InputError(Problem("--difference", f"{text!r} is not a number of percentage points", "--difference=1"))
    return value / 100


def after(folder: RunFolder) -> None:
    """Tell the verdict on a finished run, and what is found in its configuration."""
    from regulo.analysis.doctor import terminal
    from regulo.analysis.doctor.base import RunCase
    from regulo.analysis.doctor.examination import look
    from regulo.analysis.doctor.verdict import give_verdict

    terminal.verdict(folder.path.name, give_verdict(folder))
    try:
        terminal.findings(look(RunCase.of(validate.validate_config(folder.read_config()))))
    except InputError as refusal:
        terminal.unexamined(refusal)
