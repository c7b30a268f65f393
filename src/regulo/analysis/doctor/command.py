"""`regulo doctor`: what is risky in a run before it starts, and what its curves say after it."""

import dataclasses
import os
from collections.abc import Sequence

from regulo.config import validate
from regulo.core import yaml_files
from regulo.core.errors import InputError, Problem
from regulo.core.paths import expand_path
from regulo.tracking.run_dir import RunFolder
from regulo.tracking.run_names import open_run


def doctor(words: Sequence[str], fix: str | None, difference: str | None) -> int:
    """Examine the run that these overrides describe, or finished runs. Returns the exit code.

    words: overrides, or run folders. fix: the file to write the fixed run to; "": configs/experiment/doctor.yaml; None: write
    nothing. difference: in percentage points.

    Exit codes: 0, nothing to say, or notes only; 1, a warning; 2, an error, for which `regulo train` exits with the same code.
    Neither the findings nor the verdict of a finished run count. With `fix`, the exit code is that of the fixed run. Raises
    InputError if overrides and run folders are mixed, a folder is not a run, or an option cannot be used.
    """
    runs = [word for word in words if ("=" not in word and not word.startswith("~")) or is_run_folder(word)]
    if runs and (len(runs) < len(words) or fix is not None or difference is not None):
        raise InputError(
            Problem("regulo doctor", f"takes overrides or run folders ({runs[0]}), not both, and options with overrides")
        )
    min_difference = None if difference is None else parse_points(difference)

    from regulo.analysis.doctor import terminal

    if runs:
        for folder in [open_run(run) for run in runs]:
            report_run(folder)
        return 0
    if fix is None:
        from regulo.analysis.doctor.examination import examine

        findings = examine(words, min_difference)
        terminal.print_findings(findings)
    else:
        from regulo.analysis.doctor import autofix

        file = expand_path(fix) if fix else yaml_files.config_dir() / "experiment" / "doctor.yaml"
        autofix.check_file(file)
        overrides, fixes, findings = autofix.apply_fixes(words, min_difference)
        terminal.print_fixes(fixes)
        terminal.print_findings(findings)
        if any(f.severity == "error" for f in findings):
            return 2
        autofix.save_experiment(file, overrides, fixes)
        terminal.print_experiment(file, overrides)
    return {"error": 2, "warning": 1}.get(findings[0].severity, 0) if findings else 0


def is_run_folder(word: str) -> bool:
    """Whether a word, which may look like an override, is the folder of a run."""
    return os.path.isfile(os.path.join(os.path.expanduser(word), "config.yaml"))


def parse_points(text: str) -> float:
    """Percentage points, in (0, 100], as a fraction. Raises InputError for other text."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise InputError(Problem("--difference", f"{text!r} is not a number of percentage points", "--difference=1"))
    return value / 100


def report_run(folder: RunFolder) -> None:
    """Print the verdict on a finished run, and the findings about its configuration."""
    from regulo.analysis.doctor import terminal
    from regulo.analysis.doctor.base import RunCase
    from regulo.analysis.doctor.examination import run_rules
    from regulo.analysis.doctor.tuning import tune_command
    from regulo.analysis.doctor.verdict import give_verdict

    verdict = give_verdict(folder)
    if verdict.regime == "overfits":
        verdict = dataclasses.replace(verdict, next=(*verdict.next, tune_command(validate.read_run_config(folder))))
    terminal.print_verdict(folder.path.name, verdict)
    try:
        terminal.print_findings(run_rules(RunCase.of(validate.read_run_config(folder))))
    except InputError as error:
        terminal.print_config_error(error)
