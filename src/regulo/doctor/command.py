"""`regulo doctor`: what is risky in a run before it starts, and what its curves say after it."""

from collections.abc import Sequence
from pathlib import Path

from regulo import config as configs
from regulo.errors import Problem, Refused, nearest
from regulo.home import expanded
from regulo.runs import RunFolder

OPTIONS = ("--fix", "--difference")


def doctor(arguments: Sequence[str]) -> int:
    """`regulo doctor [overrides | RUN …] [--fix [FILE.yaml]] [--difference=POINTS]`. Returns the exit code.

    0: nothing to say, or notes only; 1: a warning; 2: an error, which `regulo train` would refuse with this code. The findings of
    a finished run do not count, nor its verdict. With --fix, the exit code is that of the mended run.
    """
    words, file, difference = parse(arguments)
    runs = [w for w in words if "=" not in w and not w.startswith("~")]
    if runs and (len(runs) < len(words) or file or difference):
        raise Refused(
            Problem("regulo doctor", f"takes overrides or run folders ({runs[0]}), not both, and options with overrides")
        )

    from regulo.doctor import terminal

    if runs:
        for folder in [RunFolder.open(run) for run in runs]:
            after(folder)
        return 0
    if file is None:
        from regulo.doctor.examination import examine

        findings = examine(words, difference)
        terminal.findings(findings)
    else:
        from regulo.doctor import mending

        mending.check(file)
        words, mended, findings = mending.mend(words, difference)
        terminal.mended(mended)
        terminal.findings(findings)
        if any(f.severity == "error" for f in findings):
            return 2
        mending.save(file, words, mended)
        terminal.written(file, words)
    return {"error": 2, "warning": 1}.get(findings[0].severity, 0) if findings else 0


def parse(arguments: Sequence[str]) -> tuple[list[str], Path | None, float | None]:
    """Overrides or run folders, the file of --fix, and the difference of --difference as a share of 1."""
    words: list[str] = []
    file: Path | None = None
    difference: float | None = None
    previous = ""
    for word in arguments:
        option, _, value = word.partition("=")
        if option == "--difference":
            difference = points(value)
        elif option == "--fix":
            file = expanded(value) if value else configs.folder() / "experiment" / "doctor.yaml"
        elif previous == "--fix" and word.endswith((".yaml", ".yml")):
            file = expanded(word)
        elif word.startswith("-"):
            raise Refused(Problem(word, "is not an option of doctor", nearest(option, OPTIONS)))
        else:
            words.append(word)
        previous = word
    return words, file, difference


def points(text: str) -> float:
    """Percentage points as a share of 1. Raises Refused."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise Refused(Problem("--difference", f"{text!r} is not a number of percentage points", "--difference=1"))
    return value / 100


def after(folder: RunFolder) -> None:
    """Tell the verdict on a finished run, and what is found in its configuration."""
    from regulo.doctor import terminal
    from regulo.doctor.base import Case
    from regulo.doctor.examination import look
    from regulo.doctor.verdict import judge

    terminal.verdict(folder.path.name, judge(folder))
    try:
        terminal.findings(look(Case.of(configs.validate(folder.config()))))
    except Refused as refusal:
        terminal.unexamined(refusal)
