"""The command line of `regulo tune`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regulo.analysis.launchers.options import LaunchOptions, parse_value, take_launch_options
from regulo.analysis.launchers.runs import override_key, with_defaults
from regulo.analysis.tuning.budget import parse_duration
from regulo.config.schema import Config, RunConfig
from regulo.core import registry
from regulo.core.errors import InputError, Problem, nearest
from regulo.core.safe_io import read_json

ROOT = Path("runs") / "tune"
SETTINGS = "settings.json"
"""the file with what a study searches, and the command line that began it"""
RESERVED = {
    "seed": "seeds=3 says how many seeds prove the result",
    "run_dir": "study=NAME names the folder of all runs",
    "trainer.max_time": "a run that is cut off cannot be compared; trainer.max_epochs makes all runs shorter",
}
"""keys that the overrides must not set, and the hint for each"""
OBJECTIVES = ("gap/loss", "gap/acc", "epoch_seconds", "peak_memory_mb")
"""numbers of a run that can be objectives besides the monitor; all are better low"""
COUNTS = {"trials": (2, 100_000), "seeds": (3, 100), "plans": (1, 20), "rungs": (1, 6)}
"""arguments that are numbers, and their ranges"""


@dataclass(frozen=True)
class TuneArgs:
    """What is tuned, and how much it may cost."""

    overrides: tuple[str, ...]
    """of the run that is tuned"""
    name: str | None = None
    """of the folder below runs/tune; None: from the data set and the model"""
    seconds: float | None = None
    trials: int | None = None
    seeds: int = 3
    plans: int = 3
    rungs: int | None = None
    objectives: tuple[str, ...] = ()
    """numbers of a run besides the monitor that should be low; with some, all runs are whole ones"""
    search: tuple[str, ...] | None = None
    fix: tuple[str, ...] = ()
    launch: LaunchOptions = field(default_factory=LaunchOptions)
    words: tuple[str, ...] = ()
    """the command line"""

    def study_name(self, config: Config) -> str:
        """The name of the folder."""
        return self.name or f"{config.data.name}-{config.model.name}"


def parse_tune_args(arguments: Sequence[str]) -> TuneArgs:
    """Read the command line. Raises InputError with all problems; what the run would refuse is checked later."""
    words = _resume(arguments)
    launch, rest, problems = take_launch_options(words)
    values: dict[str, Any] = {"trials": None, "seeds": 3, "plans": 3, "rungs": None}
    lists: dict[str, Any] = {"search": None, "fix": (), "objectives": ()}
    name, seconds = None, None
    overrides: list[str] = []
    for word in rest:
        key, equals, value = word.partition("=")
        if key == "study" and equals:
            name = value
            if not re.fullmatch(r"[\w.+-]{1,100}", value) or not value.strip("."):
                problems.append(Problem("study", f"{value!r} cannot be the name of a folder", "letters, digits and . + - _"))
        elif key == "budget" and equals:
            try:
                seconds = parse_duration(value)
            except InputError as refusal:
                problems += refusal.problems
        elif key in COUNTS and equals:
            low, high = COUNTS[key]
            if re.fullmatch(r"\d{1,9}", value) and low <= int(value) <= high:
                values[key] = int(value)
            else:
                hint = f"{key}={min(max(int(value), low), high) if value.isdigit() else low}"
                problems.append(Problem(key, f"{value!r} should be a number from {low} to {high}", hint))
        elif key in ("tune.search", "tune.fix") and equals:
            lists[key.partition(".")[2]] = _read_names(key, value, problems, searchable_names())
        elif key == "tune.objectives" and equals:
            lists["objectives"] = _read_names(key, value, problems, list(OBJECTIVES))
        elif key.startswith("tune."):
            problems.append(Problem(key, "unknown key", nearest(key, ["tune.search", "tune.fix", "tune.objectives"])))
        elif reserved := RESERVED.get(override_key(word)):
            problems.append(Problem(word, "belongs to the study", reserved))
        else:
            overrides.append(word)
    problems += _budget_problems(seconds, values, launch)
    if lists["objectives"] and (values["rungs"] or 1) > 1:
        problems.append(Problem("rungs", "short runs cannot be ranked by several objectives", "rungs=1"))
    values["rungs"] = 1 if lists["objectives"] else values["rungs"]
    if lists["search"] == ():
        problems.append(Problem("tune.search", "names nothing", "tune.search=[mixup,weight_decay,optim.lr]"))
    problems += [
        Problem("tune.fix", f"{n} is in tune.search, too", "leave it out of one of them")
        for n in lists["fix"]
        if lists["search"] and n in lists["search"]
    ]
    if problems:
        raise InputError(*problems)
    return TuneArgs(tuple(with_defaults(overrides)), name, seconds, launch=launch, words=tuple(words), **values, **lists)


def _resume(arguments: Sequence[str]) -> list[str]:
    """The command line of an earlier study if `--resume STUDY` asks for it, with the other words after it."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--resume=") else [word])]
    if "--resume" not in words:
        return words
    at = words.index("--resume")
    if at + 1 >= len(words):
        raise InputError(Problem("--resume", "needs the name of a study", "--resume latest"))
    name = words.pop(at + 1).rstrip("/")
    del words[at]
    found = sorted(ROOT.glob(f"*/{SETTINGS}"), key=lambda file: file.stat().st_mtime)
    names = [file.parent.name for file in found]
    name = names[-1] if name == "latest" and names else Path(name).name
    if name not in names:
        raise InputError(Problem("--resume", f"there is no study {name!r} below {ROOT}", nearest(name, names)))
    earlier = read_json(ROOT / name / SETTINGS, "--resume").get("arguments", [])
    keys = {override_key(word) for word in words}
    limits = {"budget", "trials"} if keys & {"budget", "trials"} else set()
    return [*(word for word in map(str, earlier) if override_key(word) not in limits | {"study"}), f"study={name}", *words]


def _read_names(key: str, text: str, problems: list[Problem], valid: Sequence[str]) -> tuple[str, ...]:
    """The names in a list such as [mixup,cutmix.p,optim.lr]; a problem for each that is not valid."""
    parsed: dict[str, Any] = {}
    parse_value(parsed, key, text, problems)
    value = parsed.get(key.partition(".")[2])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        problems.append(Problem(key, f"{text!r} is not a list of names", f"{key}=[{valid[0]}]"))
        return ()
    names = [name.removeprefix("regularizer.") for name in listed]
    for name in names:
        if name not in valid:
            why = _reason_against(name) or "is nothing that it can name"
            problems.append(Problem(key, f"{name} {why}", nearest(name, valid)))
    return tuple(names)


def searchable_names() -> list[str]:
    """The names of techniques, of their fields that are searched, and of other keys."""
    names = []
    for technique in registry.list_plugins("regularizer"):
        space = registry.get_plugin("regularizer", technique).search_space
        if not space.why_not:
            names += [technique, *(f"{technique}.{key}" for key in space.fields)]
    for optimizer in registry.list_plugins("optim"):
        names += [f"optim.{key}" for key in registry.get_plugin("optim", optimizer).search_space.fields]
    return sorted({*names, *RunConfig.search_space.fields})


def _reason_against(name: str) -> str:
    """Why a technique, or a field of it, is not searched; empty if there is no such reason."""
    technique, _, key = name.partition(".")
    if technique not in registry.list_plugins("regularizer"):
        return ""
    space = registry.get_plugin("regularizer", technique).search_space
    if space.why_not:
        return f"is not searched: {space.why_not}"
    return f"is not searched; of {technique} there are: {', '.join(space.fields) or 'on and off'}" if key else ""


def _budget_problems(seconds: float | None, values: dict[str, Any], launch: LaunchOptions) -> list[Problem]:
    """What is wrong with the limits of the study."""
    trials = values["trials"]
    if seconds is None and trials is None:
        return [Problem("budget", "how much may it cost?", "budget=2h, or trials=60 plans")]
    if seconds is not None and trials is not None:
        return [Problem("budget", "is given in two ways", "budget=2h or trials=60")]
    if seconds is not None and launch.launcher is not None:
        return [Problem("budget", "minutes cannot be counted where a cluster's queue decides when a run starts", "trials=60")]
    if trials is not None and trials < values["plans"]:
        return [Problem("trials", f"{trials} plans are fewer than the {values['plans']} that are proved", f"plans={trials}")]
    return []
