"""What commands do when a test only wants to know whether a command line is valid: everything but the work."""

from collections.abc import Sequence
from dataclasses import replace

from regulo.__main__ import build_commands, run
from regulo.analysis.ablation.study import parse_study_args
from regulo.analysis.crossval.plans import load_plans, parse_crossval_args
from regulo.analysis.tuning.arguments import parse_tune_args
from regulo.config.compose import load_config

RUN_OPTIONS = ("--resume", "--same-data")
"""options whose value is a run, which need not exist here"""


def check_command_line(words: Sequence[str]) -> None:
    """Parse a command line as `regulo` does, and compose and validate its overrides. Raises InputError."""
    name, *rest = words
    commands = {
        key: replace(command, function=f"{__name__}:{key if key in WITH_OVERRIDES else 'accept'}")
        for key, command in build_commands().items()
    }
    assert name in commands or name in ("--help", "--version"), f"{name} is not a command"
    for option in set(RUN_OPTIONS) & set(rest):
        assert option in commands[name].parser.options(), f"{name} has no option {option}"
        del rest[rest.index(option) : rest.index(option) + 2]
    run(name, rest, commands)


def train(words: Sequence[str]) -> int:
    """The overrides."""
    load_config(words)
    return 0


def ablate(words: Sequence[str]) -> int:
    """The study and the overrides of its base."""
    parse_study_args(words)
    return 0


def crossval(words: Sequence[str]) -> int:
    """The overrides of all plans."""
    load_plans(parse_crossval_args(words))
    return 0


def tune(words: Sequence[str]) -> int:
    """The words of the study, and the overrides of the run that is tuned."""
    if words[:1] in (["lr"], ["batch"]):
        load_config(words[1:])
    elif words:
        load_config(parse_tune_args(words).overrides)
    return 0


def doctor(words: Sequence[str], fix: str | None, difference: str | None) -> int:
    """Overrides; runs need not exist."""
    load_config([word for word in words if "=" in word or word.startswith("~")])
    return 0


def accept(**values: object) -> int:
    """Anything that the parser lets through."""
    return 0


WITH_OVERRIDES = ("train", "ablate", "crossval", "tune", "doctor")
